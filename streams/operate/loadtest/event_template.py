"""Events of a load test, made from a template of the file.

A text of the template may hold placeholders: ``"tenant-{zipf:20}"``. A text that is one placeholder
alone becomes its value: ``"{now_ms}"`` is a number."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams.core.clock import Clock
from streams.core.errors import UsageError

_PLACE = re.compile(r"\{([a-z_]+)(?::([^{}]*))?\}")
CHOICES_MAX: Final = 100_000

Draw: TypeAlias = Callable[[], Any]


class Placeholders:
    """Draws of one flow. ``run`` names the test in series and keys of its own."""

    def __init__(self, run: str, rng: random.Random, clock: Clock) -> None:
        self.run = run
        self._rng = rng
        self._clock = clock

    def draw(self, word: str, argument: str | None, where: str) -> Draw:
        """Raises `UsageError` for an unknown word or an unfit argument."""
        makers: Mapping[str, Callable[[str], Draw]] = {
            "id": self._id,
            "run": lambda _: lambda: self.run,
            "now_ms": lambda _: self._clock.now_ms,
            "number": self._number,
            "zipf": self._zipf,
            "uniform": self._uniform,
            "lognormal": self._lognormal,
            "one": self._one,
        }
        if word not in makers:
            raise UsageError(
                f"{where}: no placeholder {{{word}}}; there are {', '.join(sorted(makers))}."
            )
        try:
            return makers[word](argument or "")
        except ValueError:
            raise UsageError(
                f"{where}: {{{word}:{argument or ''}}} does not fit. Use {{number:20}}, {{zipf:20}}, "
                "{uniform:0:1}, {lognormal:0:1.5} or {one:a|b|c}."
            ) from None

    def _id(self, _: str) -> Draw:
        return lambda: f"{self._rng.getrandbits(128):032x}"

    def _number(self, argument: str) -> Draw:
        count = _count(argument)
        return lambda: self._rng.randrange(count)

    def _zipf(self, argument: str) -> Draw:
        """Number k has the weight 1 / (k + 1)."""
        count = _count(argument)
        edges = [*accumulate(1 / (rank + 1) for rank in range(count))]
        return lambda: min(count - 1, bisect_right(edges, self._rng.random() * edges[-1]))

    def _uniform(self, argument: str) -> Draw:
        low, high = _pair(argument)
        return lambda: self._rng.uniform(low, high)

    def _lognormal(self, argument: str) -> Draw:
        mu, sigma = _pair(argument)
        return lambda: self._rng.lognormvariate(mu, sigma)

    def _one(self, argument: str) -> Draw:
        choices = argument.split("|")
        if not all(choices):
            raise ValueError(argument)
        return lambda: self._rng.choice(choices)


def _count(argument: str) -> int:
    count = int(argument)
    if not 1 <= count <= CHOICES_MAX:
        raise ValueError(argument)
    return count


def _pair(argument: str) -> tuple[float, float]:
    first, second = map(float, argument.split(":"))
    if not abs(first) + abs(second) < 1e6:
        raise ValueError(argument)
    return first, second


class Text(NamedTuple):
    """A text with placeholders; parts are fixed texts and draws."""

    parts: Sequence[str | Draw]

    @classmethod
    def of(cls, text: str, places: Placeholders, where: str) -> Text:
        parts: list[str | Draw] = []
        end = 0
        for found in _PLACE.finditer(text):
            if found.start() > end:
                parts.append(text[end : found.start()])
            parts.append(places.draw(found[1], found[2], where))
            end = found.end()
        if end < len(text):
            parts.append(text[end:])
        return cls(parts)

    @property
    def bare(self) -> Draw | None:
        """The draw of a text that is one placeholder alone."""
        one = self.parts[0] if len(self.parts) == 1 else ""
        return None if isinstance(one, str) else one

    def drawn(self) -> str:
        return "".join(part if isinstance(part, str) else str(part()) for part in self.parts)


class MadeEvent(NamedTuple):
    """``series`` is (tenant, model, metric); None where the event names no series."""

    value: bytes
    series: tuple[str, str, str] | None


_SERIES: Final = ("tenant_id", "model_id", "metric")


class EventTemplate:
    """Raises `UsageError` for a template with unknown placeholders."""

    def __init__(self, event: Mapping[str, Any], places: Placeholders, where: str) -> None:
        self._fields = {
            name: _compiled(value, places, f"{where}.{name}") for name, value in event.items()
        }
        self._of_series = all(isinstance(event.get(name), str) for name in _SERIES)

    def make(self) -> MadeEvent:
        made = {name: draw() for name, draw in self._fields.items()}
        series = None
        if self._of_series:
            tenant, model, metric = (str(made[name]) for name in _SERIES)
            series = tenant, model, metric
        return MadeEvent(msgspec.json.encode(made), series)


def _compiled(value: Any, places: Placeholders, where: str) -> Draw:
    if isinstance(value, str):
        text = Text.of(value, places, where)
        if text.bare is not None:
            return text.bare
        return (
            text.drawn if any(not isinstance(part, str) for part in text.parts) else _fixed(value)
        )
    if isinstance(value, Mapping):
        fields = {name: _compiled(one, places, f"{where}.{name}") for name, one in value.items()}
        return lambda: {name: draw() for name, draw in fields.items()}
    if isinstance(value, list):
        items = [_compiled(one, places, where) for one in value]
        return lambda: [draw() for draw in items]
    return _fixed(value)


def _fixed(value: Any) -> Draw:
    return lambda: value
