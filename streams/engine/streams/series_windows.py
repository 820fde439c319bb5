"""Windows that reopen: `app.windows(..., late="reopen")`. Minutes of series of numbers, which the
engine keeps in a table of its own (docs/protocols/windows.md, "Minute windows").

    app.windows(
        "m1", of=metrics, by=("tenant_id", "model_id", "metric"), fold=Series("value"),
        size="60s", roll_ups=("1h", "1d"), late="reopen", ids="event_id",
    )
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import inspect

from streams.core.errors import UsageError
from streams.core.formats.plain_codecs import JSON
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.core.topics.topic import TENANT_FIELD, Topic

SIZE_MS: Final = 60_000
ROLL_UPS_MS: Final = (3_600_000, 86_400_000)
NAME_MAX_CHARS: Final = 128
VALUE_MAX: Final = 1e150
"""Largest magnitude: its square is a finite double."""
_KEY_FIELDS: Final = 3
_NAME: Final = f"Annotated[str, msgspec.Meta(max_length={NAME_MAX_CHARS})], or shorter"
_NUMBER: Final = (
    f"Annotated[float, msgspec.Meta(ge=-{VALUE_MAX:g}, le={VALUE_MAX:g})], or narrower: squares of "
    "it are summed"
)


@dataclass(frozen=True)
class Series:
    """The ``fold`` of windows that reopen: of the values of ``field``, a float, their number, sum,
    mean, squared deviations, smallest, greatest and last value, and a sketch within 1 %. Rows of
    one window add up, also to those of hours and days."""

    field: str


@dataclass(frozen=True, kw_only=True)
class SeriesWindows:
    """Declared windows that reopen. Raises `UsageError` for an invalid declaration.

    ``by``: tenant and two more names of a series; ``value``, ``ids``: fields of the event.
    """

    topic: Topic
    by: tuple[str, ...]
    value: str
    ids: str
    told_apart_by: str = field(init=False)
    """the other text of an event, which is compared in repeats, too; "": there is none"""

    def __post_init__(self) -> None:
        if len(self.by) != _KEY_FIELDS or self.by[0] != TENANT_FIELD:
            raise self._wrong(
                f"by={self.by} is not {TENANT_FIELD!r} and two other fields, the names of a series"
            )
        if self.topic.key_field not in self.by or not self.topic.time_field:
            raise self._wrong("their topic needs a key_field that by names, and a time_field")
        kinds = self._kinds()
        for name in self.by:
            self._check(name, _is_name(kinds.get(name)), _NAME)
        self._check(self.value, _is_bounded(kinds.get(self.value)), _NUMBER)
        self._check(self.ids, _is_text(kinds.get(self.ids)), "a str, with or without None")
        known = {*self.by, self.value, self.ids, self.topic.time_field}
        others = [name for name in kinds if name not in known]
        if len(others) > 1 or not all(_is_text(kinds[name]) for name in others):
            raise self._wrong(
                f"besides these fields an event has one text at most, by which repeats are told "
                f"apart, and this has {', '.join(others)}. Use late='dead_letter' or 'drop'"
            )
        object.__setattr__(self, "told_apart_by", next(iter(others), ""))

    def _kinds(self) -> Mapping[str, inspect.Type]:
        """The types of the fields, with the bounds that the codec checks."""
        info = inspect.type_info(self.topic.type)
        if not isinstance(info, inspect.StructType) or self.topic.codec is not JSON:
            raise self._wrong("their events must be Records in JSON")
        return {one.name: one.type for one in info.fields}

    def _check(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise self._wrong(f"field {name!r} must be {wanted}")

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"windows of {self.topic.name} that reopen: {why}.")


def _is_name(kind: inspect.Type | None) -> bool:
    return isinstance(kind, inspect.StrType) and 0 < (kind.max_length or 0) <= NAME_MAX_CHARS


def _is_bounded(kind: inspect.Type | None) -> bool:
    return (
        isinstance(kind, inspect.FloatType)
        and kind.ge is not None
        and kind.le is not None
        and -VALUE_MAX <= kind.ge <= kind.le <= VALUE_MAX
    )


def _is_text(kind: inspect.Type | None) -> bool:
    if isinstance(kind, inspect.UnionType):
        rest = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return len(rest) == 1 and _is_text(rest[0])
    return isinstance(kind, inspect.StrType)


def check_tables(name: str, size_ms: int, roll_ups_ms: Sequence[int]) -> None:
    """Raises `UsageError` unless these are the tables of windows that reopen."""
    if (name, size_ms, *roll_ups_ms) != (WINDOW_TABLES[0], SIZE_MS, *ROLL_UPS_MS):
        raise UsageError(
            f"windows {name!r}: windows with late='reopen' are the tables "
            f"{', '.join(WINDOW_TABLES)}. Declare app.windows({WINDOW_TABLES[0]!r}, size='60s', "
            "roll_ups=('1h', '1d'), ...), without step and gap."
        )
