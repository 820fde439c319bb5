"""Calls of a producer that suppress their cancellation, as a client library may."""

from __future__ import annotations

import asyncio
import random
from typing import Final, Literal, TypeAlias

from streams.connect.broker.memory.faults import Call
from streams.core.resilience.cancellation import CANCELLATIONS
from streams.dev.simulation.world import Difference, Process, World, current_process

_REPEATED_WITHIN_S: Final = 30.0
"""Until the engine repeats a suppressed cancellation, or gives the worker up."""
_SLOW_START_S: Final = 8.0
"""Longer than a member's session, so that the partition often moves meanwhile."""
_SLOW_STEP_S: Final = 8.0
"""Longer than a commit may take."""
_FOREVER_S: Final = 1e6
_LATE_S: Final = (0.1, 3.0, 20.0)
"""From the last cancellation of the engine to the step that is carried out all the same: before and after
another owner of the partition has its producer."""
_STEPS: tuple[Call, ...] = ("send", "send_offsets", "commit")

_Manner: TypeAlias = Literal["ends", "goes on", "deaf"]
_MANNERS: tuple[_Manner, ...] = ("ends", "goes on", "deaf")
"""The second cancellation ends the call; the first one has it carried out; none has an effect."""


class DeafCalls:
    """`clear` ends them: from then on, a cancellation ends a call."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._abandoned: list[str] = []
        self._clears = 0

    def at_a_start(self, rng: random.Random) -> None:
        """The start of a producer takes long. It suppresses cancellations and hangs: one, or more than the
        engine repeats."""
        times = rng.choice((1, 1, CANCELLATIONS + 1))

        async def suppress() -> None:
            process, clears, suppressed = current_process.get(), self._clears, 0
            while True:
                try:
                    await self._world.clock.sleep(
                        _REPEATED_WITHIN_S if suppressed else _SLOW_START_S
                    )
                except asyncio.CancelledError:
                    if self._over(clears) or suppressed == times:
                        raise
                    suppressed += 1
                    continue
                if not suppressed:
                    return
                if isinstance(process, Process) and process.alive and process.failure is None:
                    self._abandoned.append(process.name)
                raise asyncio.CancelledError

        self._world.broker.faults.before("start", suppress, nth=rng.randint(1, 3))

    def in_a_commit(self, rng: random.Random) -> None:
        """A step of a commit takes longer than the commit may. Then it hangs until it is cancelled again, is
        carried out at once, or is carried out after the engine has left it behind."""
        manner, late_s = rng.choice(_MANNERS), rng.choice(_LATE_S)

        async def suppress() -> None:
            clears, suppressed, delay_s = self._clears, 0, _SLOW_STEP_S
            while True:
                try:
                    await self._world.clock.sleep(delay_s)
                except asyncio.CancelledError:
                    if self._over(clears) or (suppressed and manner == "ends"):
                        raise
                    suppressed += 1
                    if manner == "goes on":
                        return
                    delay_s = late_s if suppressed >= CANCELLATIONS else _FOREVER_S
                else:
                    return

        self._world.broker.faults.before(rng.choice(_STEPS), suppress, nth=rng.randint(1, 4))

    def clear(self) -> None:
        self._clears += 1

    def _over(self, clears: int) -> bool:
        process = current_process.get()
        return clears != self._clears or not isinstance(process, Process) or not process.alive

    def check(self) -> None:
        """A cancellation that a client suppressed is repeated, or ends the worker. Raises
        `Difference`."""
        if self._abandoned:
            raise Difference(
                f"{self._abandoned[0]}: a client suppressed a cancellation, and none followed "
                f"within {_REPEATED_WITHIN_S:g} s"
            )
