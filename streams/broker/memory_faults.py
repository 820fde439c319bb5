"""Bad weather on demand: what tests and the simulation can make the in-memory broker do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from streams.clock import Clock
from streams.errors import BrokerUnavailable, CommitInDoubt

Call: TypeAlias = Literal[
    "join", "fetch", "read", "start", "send", "send_offsets", "commit", "abort", "produce", "admin"
]


@dataclass(slots=True)
class _Planned:
    countdown: int
    effect: Callable[[], Awaitable[None]]


class Faults:
    """Each fault strikes once, at the ``nth`` call of its kind counted from now.

    Several faults may wait for the same kind; each counts for itself.
    """

    def __init__(self, clock: Clock, notify: Callable[[], None]) -> None:
        self._clock = clock
        self._notify = notify
        self._planned: dict[Call, list[_Planned]] = {}
        self._doubts: list[tuple[int, bool]] = []
        self.is_down = False
        self.extra_markers = 0
        self.repeated_callbacks = 0
        self.lost_lists = 0

    def fail(self, call: Call, error: Exception, *, nth: int = 1) -> None:
        """Raise ``error`` instead of doing the call."""

        async def effect() -> None:
            raise error

        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def delay(self, call: Call, delay_s: float, *, nth: int = 1) -> None:
        """Let ``delay_s`` seconds of the clock pass before the call is done."""

        async def effect() -> None:
            await self._clock.sleep(delay_s)

        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def before(self, call: Call, effect: Callable[[], Awaitable[None]], *, nth: int = 1) -> None:
        """Let ``effect`` happen just before the call is done; it may kill who made the call."""
        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def refuse_send(self, *, nth: int = 1) -> None:
        """Refuse one record of a transaction; its awaitable raises."""
        self.fail("send", CommitInDoubt("the broker refused the record"), nth=nth)

    def doubt_commit(self, *, applied: bool, nth: int = 1) -> None:
        """Lose the answer to a commit; ``applied`` says what became of the transaction."""
        self._doubts.append((nth, applied))

    def duplicate_markers(self, count: int = 1) -> None:
        """Write the control markers of the next ``count`` transactions twice."""
        self.extra_markers += count

    def duplicate_callbacks(self, count: int = 1) -> None:
        """Tell listeners the next ``count`` assignment changes twice."""
        self.repeated_callbacks += count

    def lose_lists(self, count: int = 1) -> None:
        """Let the consumers that fetch next lose ``count`` lists: positions move, no record comes."""
        self.lost_lists += count

    def down(self) -> None:
        """Refuse every call until `up`; consumers see silence."""
        self.is_down = True

    def up(self) -> None:
        self.is_down = False
        self._notify()

    def heal(self) -> None:
        """Forget every fault that has not struck, and come up."""
        self._planned.clear()
        self._doubts.clear()
        self.extra_markers = self.repeated_callbacks = self.lost_lists = 0
        self.up()

    async def strike(self, call: Call) -> None:
        """Count one call of this kind and let whatever is due happen to it."""
        due = []
        for planned in self._planned.get(call, ()):
            planned.countdown -= 1
            if planned.countdown == 0:
                due.append(planned)
        for planned in due:
            self._planned[call].remove(planned)
        for planned in due:
            await planned.effect()
        if self.is_down and call != "fetch":
            raise BrokerUnavailable("the in-memory broker is down. Call faults.up().")

    def commit_doubt(self) -> bool | None:
        """Whether this commit's lost answer was "applied"; None when it is not lost."""
        self._doubts = [(nth - 1, applied) for nth, applied in self._doubts]
        due = [applied for nth, applied in self._doubts if nth == 0]
        self._doubts = [(nth, applied) for nth, applied in self._doubts if nth > 0]
        return due[0] if due else None

    def take_extra_marker(self) -> bool:
        if self.extra_markers == 0:
            return False
        self.extra_markers -= 1
        return True

    def take_repeated_callback(self) -> bool:
        if self.repeated_callbacks == 0:
            return False
        self.repeated_callbacks -= 1
        return True

    def take_lost_list(self) -> bool:
        if self.lost_lists == 0:
            return False
        self.lost_lists -= 1
        return True
