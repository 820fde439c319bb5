"""Checks from outside the processes the roll-ups that partitions owe.

An owed hour may be crossed out only after a recomputation that began after its commit. Most
violations heal: the final rows rarely show them."""

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
    """Receives every changelog entry in order, and every recomputation."""

    def __init__(self) -> None:
        self._owed: dict[_Debt, int] = {}
        self._met: dict[_Debt, int] = {}

    def forget(self, partition: int) -> None:
        self._owed = {debt: seq for debt, seq in self._owed.items() if debt.partition != partition}

    def follow(self, partition: int, entries: Iterable[Entry]) -> str | None:
        """The violation in the ``entries`` of one commit, or None."""
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
        """Call the result at the end of the recomputation."""
        began_with = {debt: seq for debt, seq in self._owed.items() if debt.bucket == bucket}

        def done() -> None:
            for debt, seq in began_with.items():
                # Of two concurrent recomputations the first may end last.
                self._met[debt] = max(seq, self._met.get(debt, 0))

        return done


def _is_owed(key: bytes) -> bool:
    return key.startswith(OUTBOX.prefix)
