"""Faults that tests and the simulation inject into the in-memory broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable, CommitInDoubt, PartitionRestart, ProducerFenced
from streams.core.types import TopicPartition

Call: TypeAlias = Literal[
    "join", "fetch", "read", "start", "send", "send_offsets", "commit", "abort", "produce", "admin"
]


UNSTABLE_OFFSET_COMMIT: Final = "UNSTABLE_OFFSET_COMMIT"
COORDINATOR_REFUSALS: Final[Mapping[str, bool]] = {
    "COORDINATOR_LOAD_IN_PROGRESS": True,
    "COORDINATOR_NOT_AVAILABLE": True,
    "NOT_COORDINATOR": True,
    UNSTABLE_OFFSET_COMMIT: True,
    "GROUP_AUTHORIZATION_FAILED": False,
    "TOPIC_AUTHORIZATION_FAILED": False,
    "UNKNOWN_SERVER_ERROR": False,
}
"""codes of a group coordinator for offsets, and whether a client retries"""


TRANSACTION_REFUSALS: Final[Mapping[str, type[PartitionRestart] | None]] = {
    "COORDINATOR_LOAD_IN_PROGRESS": None,
    "COORDINATOR_NOT_AVAILABLE": None,
    "NOT_COORDINATOR": None,
    "CONCURRENT_TRANSACTIONS": None,
    "INVALID_PRODUCER_EPOCH": ProducerFenced,
    "PRODUCER_FENCED": ProducerFenced,
    "INVALID_PRODUCER_ID_MAPPING": CommitInDoubt,
    "INVALID_TXN_STATE": CommitInDoubt,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": CommitInDoubt,
    "GROUP_AUTHORIZATION_FAILED": CommitInDoubt,
    "UNKNOWN_SERVER_ERROR": CommitInDoubt,
}
"""codes for a step of a transaction, and what the client raises; None: it retries"""


class RefusedStep(NamedTuple):
    """``applied``: the coordinator took the step before the refusal."""

    code: str
    applied: bool


class SpoiledRead(NamedTuple):
    """The broker's answer to one fetch of a `LogReader`. ``records_max`` 0 returns none, even below
    the last stable offset. ``behind``: the leader's log and last stable offset end that many
    offsets early. ``throttle_s``: no entry for the partition, and no other answer for that long."""

    records_max: int | None = None
    behind: int = 0
    throttle_s: float = 0.0


@dataclass(slots=True)
class _Planned:
    countdown: int
    effect: Callable[[], Awaitable[None]]


class Faults:
    """Each applies once, at the ``nth`` call of its kind from now."""

    def __init__(self, clock: Clock, notify: Callable[[], None]) -> None:
        self._clock = clock
        self._notify = notify
        self._planned: dict[Call, list[_Planned]] = {}
        self._doubts: list[tuple[int, bool]] = []
        self._torn: bool | None = None
        self._reads: dict[TopicPartition | None, deque[SpoiledRead]] = {}
        self._refusal: tuple[str, float] = ("", 0.0)
        self._steps: dict[Call, deque[RefusedStep]] = {}
        self._healed = 0
        self.is_down = False
        self.refused_trims = 0
        self.extra_markers = 0
        self.repeated_callbacks = 0
        self.lost_lists = 0

    def fail(self, call: Call, error: Exception, *, nth: int = 1) -> None:
        async def effect() -> None:
            raise error

        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def delay(self, call: Call, delay_s: float, *, nth: int = 1) -> None:
        async def effect() -> None:
            await self._clock.sleep(delay_s)

        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def before(self, call: Call, effect: Callable[[], Awaitable[None]], *, nth: int = 1) -> None:
        """Run ``effect`` just before the call; it may kill the caller."""
        self._planned.setdefault(call, []).append(_Planned(nth, effect))

    def refuse_send(self, *, nth: int = 1) -> None:
        """Refuse a record of a transaction; its awaitable raises."""
        self.fail("send", CommitInDoubt("the broker refused the record"), nth=nth)

    def doubt_commit(self, *, applied: bool, nth: int = 1) -> None:
        """Lose the answer to a commit; ``applied`` is its outcome."""
        self._doubts.append((nth, applied))

    def tear_commit(self, *, offsets_stand: bool) -> None:
        """Of the next commit with records and offsets, commit one and abort the other. The client
        gets no answer."""
        self._torn = offsets_stand

    def refuse_steps(self, call: Call, code: str, *, applied: bool = False, times: int = 1) -> None:
        """``code`` is one of `TRANSACTION_REFUSALS`."""
        self._steps.setdefault(call, deque()).extend([RefusedStep(code, applied)] * times)

    def duplicate_markers(self, count: int = 1) -> None:
        """Write the control markers of the next ``count`` transactions twice."""
        self.extra_markers += count

    def duplicate_callbacks(self, count: int = 1) -> None:
        self.repeated_callbacks += count

    def lose_lists(self, count: int = 1) -> None:
        """Lose lists of consumers: positions move without a record."""
        self.lost_lists += count

    def spoil_reads(
        self, read: SpoiledRead, *, times: int = 1, of: TopicPartition | None = None
    ) -> None:
        """For the next ``times`` fetches of readers, of one partition where ``of`` is set."""
        self._reads.setdefault(of, deque()).extend([read] * times)

    def refuse_offsets(self, code: str, for_s: float) -> None:
        """``code`` is one of `COORDINATOR_REFUSALS`."""
        self._refusal = (code, self._clock.monotonic() + for_s)

    def refuse_trims(self, count: int = 1) -> None:
        """The next ``count`` trims lie past the leader's replicated end."""
        self.refused_trims += count

    def down(self) -> None:
        """Refuse every call until `up`; consumers get no answers."""
        self.is_down = True

    def up(self) -> None:
        self.is_down = False
        self._notify()

    def heal(self) -> None:
        """Drop all pending faults, those of delayed calls included."""
        self._healed += 1
        self._planned.clear()
        self._doubts.clear()
        self._torn = None
        self._reads.clear()
        self._refusal = ("", 0.0)
        self._steps.clear()
        self.extra_markers = self.repeated_callbacks = 0
        self.lost_lists = self.refused_trims = 0
        self.up()

    async def strike(self, call: Call) -> None:
        due = []
        for planned in self._planned.get(call, ()):
            planned.countdown -= 1
            if planned.countdown == 0:
                due.append(planned)
        for planned in due:
            self._planned[call].remove(planned)
        healed = self._healed
        for planned in due:
            if healed == self._healed:
                await planned.effect()
        if self.is_down and call != "fetch":
            raise BrokerUnavailable("the in-memory broker is down. Call faults.up().")

    def commit_doubt(self) -> bool | None:
        """Whether the commit was applied; None when no answer is lost."""
        self._doubts = [(nth - 1, applied) for nth, applied in self._doubts]
        due = [applied for nth, applied in self._doubts if nth == 0]
        self._doubts = [(nth, applied) for nth, applied in self._doubts if nth > 0]
        return due[0] if due else None

    def take_torn(self) -> bool | None:
        """Whether the offsets of this torn commit stand; None when it is not torn."""
        torn, self._torn = self._torn, None
        return torn

    @property
    def tears(self) -> bool:
        return self._torn is not None

    def coordinator_refusal(self) -> str:
        code, until_s = self._refusal
        return code if self._clock.monotonic() < until_s else ""

    def take_step(self, call: Call) -> RefusedStep | None:
        planned = self._steps.get(call)
        return planned.popleft() if planned else None

    def take_read(self, tp: TopicPartition) -> SpoiledRead | None:
        planned = self._reads.get(tp) or self._reads.get(None)
        return planned.popleft() if planned else None

    def take_refused_trim(self) -> bool:
        if self.refused_trims == 0:
            return False
        self.refused_trims -= 1
        return True

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
