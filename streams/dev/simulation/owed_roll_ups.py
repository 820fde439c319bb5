"""What partitions owe to roll-ups, watched from outside the processes.

An hour that a commit owes may be crossed out only after a recomputation that began when that commit
was true. Most breaches of this mend themselves, since an hour is recomputed repeatedly, and so
the rows at the end of a history seldom show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.effects.effects import RollUp, roll_up
from streams.engine.state.outbox import version_in
from streams.engine.state.table import Entry


class _Debt(NamedTuple):
    partition: int
    bucket: RollUp


class OwedRollUps:
    """Fed with every entry of the changelogs in their order, and with every recomputation."""

    def __init__(self) -> None:
        self._owed: dict[_Debt, int] = {}
        self._met: dict[_Debt, int] = {}

    def forget(self, partition: int) -> None:
        """Entries of its changelog were missed."""
        self._owed = {debt: seq for debt, seq in self._owed.items() if debt.partition != partition}

    def follow(self, partition: int, entries: Iterable[Entry]) -> str | None:
        """What is wrong with the ``entries`` of one commit."""
        wrong = None
        for key, value in entries:
            bucket = roll_up(key.removeprefix(OUTBOX.prefix)) if _is_owed(key) else None
            if bucket is None:
                continue
            debt = _Debt(partition, bucket)
            if value is not None:
                self._owed[debt] = version_in(value)
            elif (seq := self._owed.pop(debt, 0)) > self._met.get(debt, 0):
                wrong = f"partition {partition} owed {bucket} since commit {seq}; no process did it"
        return wrong

    def recomputing(self, bucket: RollUp) -> Callable[[], None]:
        """A recomputation begins; what is returned is called when it was done."""
        began_with = {debt: seq for debt, seq in self._owed.items() if debt.bucket == bucket}

        def done() -> None:
            for debt, seq in began_with.items():
                # Two processes recompute side by side: the one that began first may be done last.
                self._met[debt] = max(seq, self._met.get(debt, 0))

        return done


def _is_owed(key: bytes) -> bool:
    return key.startswith(OUTBOX.prefix)
