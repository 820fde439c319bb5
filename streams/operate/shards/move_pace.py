"""How fast a mover copies, whether it pauses, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streams.connect.sinks.map_record import day_text
from streams.connect.sinks.moves.notes import MoveOrder, MoveProgress
from streams.core.clock import Clock

POLL_S: Final = 2.0
_SAY_S: Final = 10.0


class MovePace:
    """``order`` says what operators want now, ``told`` takes the progress, ``check`` raises when another
    process took the lock."""

    def __init__(
        self, clock: Clock, sleep: Callable[[float], None], check: Callable[[], None],
        say: Callable[[str], None], order: Callable[[], MoveOrder], told: Callable[[MoveProgress], None],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._sleep = sleep
        self._check = check
        self._say = say
        self._order = order
        self._told = told
        self.batch = MoveOrder().batch
        self._day = self._whole = self._done = 0
        self._began_s = self._paused_s = 0.0
        self._told_s = self._said_s = float("-inf")

    def begin(self, day: int, rows: int) -> None:
        """``rows``: to copy, about."""
        self._day, self._whole, self._done = day, rows, 0
        self._began_s = self._said_s = self._clock.monotonic()
        self._paused_s, self._told_s = 0.0, float("-inf")
        self.obey()
        self._report()

    def passed(self, rows: int, copied: int) -> None:
        """``rows`` are on their target, of which ``copied`` were not there: wait as long as the rate
        demands, which may change meanwhile."""
        self._done += rows
        self._report()
        owed = float(copied)
        while (rate := self.obey().rate) is not None and owed > 0:
            step_s = min(POLL_S, owed / rate)
            self._sleep(step_s)
            owed -= step_s * rate
            self._report()

    def obey(self) -> MoveOrder:
        """The order, as soon as it does not ask for a pause."""
        order, began_s = self._order(), self._clock.monotonic()
        if order.paused:
            self._say(
                "paused by order: `dia shards resume` goes on; end the command to give its lock back"
            )
        while order.paused:
            self._check()
            self._sleep(POLL_S)
            order = self._order()
        self._check()
        self._paused_s += self._clock.monotonic() - began_s
        self.batch = order.batch
        return order

    def _report(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._told_s < POLL_S:
            return
        self._told_s = now_s
        seconds = now_s - self._began_s - self._paused_s
        progress = MoveProgress(day=self._day, whole=self._whole, done=self._done, seconds=seconds)
        self._told(progress)
        if now_s - self._said_s < _SAY_S or not (per_s := progress.per_s):
            return
        self._said_s = now_s
        left_s = max(0, self._whole - self._done) / per_s
        self._say(
            f"{day_text(self._day)}: {self._done:,} of {self._whole:,} rows, {left_s:.0f} s left"
        )
