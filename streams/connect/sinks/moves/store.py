"""What a mover asks of the shards (docs/protocols/shard_moves.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from streams.connect.sinks.map_record import DayState, MapRecord
from streams.core.rows.built_in_tables import Bucket

Series: TypeAlias = tuple[str, str, str]
Answers: TypeAlias = Mapping[Series, Sequence[Sequence[Any]]]
"""Of each series, per hour: start, count, sum, smallest, largest, last value, sketch."""

HASH_BITS: Final = 24
HASHES: Final = 1 << HASH_BITS
"""different beginnings of the hash of a series"""


@dataclass(frozen=True, slots=True)
class Portion:
    """The rows of one table and UTC day that go from one shard to another, and of those the series or keys
    whose hash begins with a number in [``first``, ``end``), of `HASHES`."""

    table: str
    day: int
    source: int
    target: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Tally:
    """``events``: of `app.windows`, rows. ``digest``: of all columns that are copied, in any order of rows."""

    rows: int
    events: int
    digest: int


class MoveStore(Protocol):
    """The rows of one move. Calls block, and may be repeated. Days are UTC, since 1970.

    Raises `ShardUnavailable` and `ShardBusy`: then run the move again."""

    @property
    def record(self) -> MapRecord: ...

    @property
    def shards(self) -> int: ...

    @property
    def tables(self) -> Sequence[str]:
        """m1, h1 and d1, and those of `app.windows`."""
        ...

    def leaving(self, table: str, day: int, source: int) -> Mapping[int, int]:
        """How many rows go to each other shard."""
        ...

    def tally(self, portion: Portion, *, copies: bool) -> Tally:
        """Of the originals on the source, or of their ``copies`` on the target."""
        ...

    def copy(self, portion: Portion) -> None:
        """Have the target hold what the source has, in one acknowledged insert. No reader counts
        it before the day is shown."""
        ...

    def delete_portion(self, portion: Portion) -> None:
        """Delete its copies, whatever they hold."""
        ...

    def copies(self, day: int) -> int:
        """How many rows of the day the move has brought to all shards."""
        ...

    def answers(
        self, day: int, source: int, target: int, size: int, seed: int, *, copies: bool
    ) -> Answers:
        """Of about ``size`` series of m1, the same of originals and copies for one ``seed``. Rows of `app.windows`
        are copied as they are, so their digest compares them whole."""
        ...

    def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        """As `ShardSet.roll_up`."""
        ...

    def state(self, day: int) -> DayState:
        """The highest that a server records."""
        ...

    def enter(self, day: int, state: DayState) -> None:
        """Record the state on every server. If readers take other rows from now on, then make the views
        anew."""
        ...

    def delete_originals(self, day: int) -> None: ...

    def delete_copies(self, day: int) -> None: ...
