"""A replay plan: which dead letters, with which repairs, to which topic.

It lists offsets, not conditions: later dead letters do not change it. Its digest covers every
field, so an edited plan is refused."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from streams.core.errors import RefusedBySafety, UsageError
from streams.operate.replay.journal.dead_letter_mark import DeadLetterMark
from streams.operate.replay.journal.ranges import NOTHING, OffsetSet

FORMAT: Final = 1
HOPS_MAX: Final = 3
KEPT_HEADERS: Final = ("dia.schema", "traceparent", "tracestate", "baggage")
"""Replayed by default. Other headers may control programs that copy or route records: replaying a
mirror's own header can stop that mirror."""

OnFailure: TypeAlias = Literal["stop", "skip", "park"]


class Transform(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` is the entry point; ``sha256`` that of the module's file when planned."""

    name: str
    sha256: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """DLQ offsets of one partition as `OffsetSet` writes them, all below ``end``; ``mark`` is that
    of the last dead letter."""

    partition: int
    end: int
    replay: str = ""
    park: str = ""
    mark: DeadLetterMark | None = None

    @property
    def to_replay(self) -> OffsetSet:
        return OffsetSet.parse(self.replay) if self.replay else NOTHING

    @property
    def to_park(self) -> OffsetSet:
        return OffsetSet.parse(self.park) if self.park else NOTHING

    @property
    def letters(self) -> int:
        return len(self.to_replay) + len(self.to_park)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a decision, the same when the plan is made and when it runs.

    ``target`` None: each dead letter's source topic. ``headers`` are name patterns (``*``).
    ``patch`` is a JSON Patch (RFC 6902)."""

    target: str | None = None
    headers: tuple[str, ...] = KEPT_HEADERS
    transform: Transform | None = None
    patch: tuple[dict[str, Any], ...] = ()
    on_failure: OnFailure = "skip"
    hops_max: int = HOPS_MAX


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``behind`` counts, by reason, the matching dead letters that stay where they are."""

    format: int = FORMAT
    id: str
    cluster_id: str
    source: str
    made_at_ms: int
    made_by: str
    asked: dict[str, Any] = {}
    """the filters, for readers"""
    terms: Terms = Terms()
    behind: dict[str, int] = {}
    selections: tuple[Selection, ...] = ()
    digest: str = ""

    def sealed(self) -> ReplayPlan:
        return msgspec.structs.replace(self, digest=_digest(self))

    @property
    def letters(self) -> int:
        return sum(selection.letters for selection in self.selections)

    def selection(self, partition: int) -> Selection | None:
        return next((s for s in self.selections if s.partition == partition), None)

    def head(self) -> ReplayPlan:
        """The plan without its offsets, as a journal stores it."""
        bare = tuple(Selection(partition=s.partition, end=s.end) for s in self.selections)
        return msgspec.structs.replace(self, selections=bare)


def _digest(plan: ReplayPlan) -> str:
    bare = msgspec.structs.replace(plan, digest="")
    return sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()


def write(plan: ReplayPlan, path: Path) -> None:
    """Raises `UsageError`."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    except OSError as error:
        raise UsageError(f"the plan cannot be written to {path}: {error.strerror}.") from error


def read(path: Path) -> ReplayPlan:
    """Raises `UsageError` for another file, `RefusedBySafety` for one that was edited or has
    another format."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the plan {path} cannot be read: {error.strerror}.") from error
    try:
        version = msgspec.json.decode(raw, type=_Versioned).format
        if version != FORMAT:
            raise RefusedBySafety(
                f"{path} is a plan of format {version}, this version of dia runs format {FORMAT}. "
                f"Run it with the version that made it, or make it again: `dia replay plan`."
            )
        plan = msgspec.json.decode(raw, type=ReplayPlan)
        for selection in plan.selections:
            _ = selection.letters
    except ValueError as error:
        raise UsageError(
            f"{path} is no replay plan: {error}. `dia replay plan --out {path}` writes one."
        ) from error
    if plan.digest != _digest(plan):
        raise RefusedBySafety(
            f"{path} was changed after it was made: its digest differs. A plan runs exactly as it "
            f"was shown; make another one: `dia replay plan`."
        )
    return plan


class _Versioned(msgspec.Struct):
    format: int
