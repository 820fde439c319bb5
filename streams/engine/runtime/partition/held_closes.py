"""Windows that stay closed to events because their `on_window_close` failed
(docs/protocols/held_closes.md).

 H1  a call fails by an exception or at its deadline; nothing of it joins
 H2  its window is held, and windows of other owners close
 H3  one held window of an owner is tried again after each pause; calls that wait have a share of the time
 H4  windows of many tenants fail at once: the partition stops

Held windows are those of one process: the next owner of the partition tries each of them anew.
"""

from __future__ import annotations

import heapq
import itertools
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from streams.core.clock import Clock
from streams.core.errors import (
    AgentFailed,
    BadRecord,
    DiaError,
    PartitionRestart,
    PartitionStopped,
    Pending,
    PoisonStorm,
    WorkerStopped,
)
from streams.core.records.bad_records import TenantOverQuota, WindowDropped
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.poison.letter_rate import LetterRate
from streams.engine.runtime.poison.poison import UNKNOWN_TENANT, PoisonBreaker, PoisonLimits
from streams.engine.state.key_owners import SHARED, Owner

PASSING: Final = (PartitionStopped, PartitionRestart, WorkerStopped, Pending)
"""errors of a callback that are not about its window"""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
_SLOW_S: Final = 0.1
"""after a failed call that took longer, all due windows of its owner wait for the next try"""
_REST: Final = 9
"""a pause is this many times as long as the failed call: an owner takes a tenth of the time at most"""
_OF_SEVERAL: Final = b"\xff"
"""stands for the owner of windows that several tenants made; no tenant's name in UTF-8"""
_COUNTED_MAX: Final = 4096
_NAMES_SHOWN: Final = 80
_OWNERS_SHOWN: Final = 4

log = structlog.get_logger(__name__)


class HeldWindow(NamedTuple):
    table: str
    key: Any
    start_ms: int
    end_ms: int


class HeldOwner(NamedTuple):
    """What operators see: the windows of an owner, and the error of its last failed call."""

    tenant: str
    table: str
    windows: int
    code: str
    why: str


@dataclass(slots=True)
class _Hold:
    table: str
    code: str
    why: str
    pause_s: float = FIRST_PAUSE_S
    retry_at_s: float = float("-inf")
    all_wait: bool = False
    """windows of this owner that become due are held without a call"""
    windows: dict[HeldWindow, None] = field(default_factory=dict)
    """the next one to try is the first"""


class HeldCloses:
    """Of one partition."""

    def __init__(
        self, tp: TopicPartition, settings: Settings, clock: Clock, waits_ms: Mapping[str, int]
    ) -> None:
        """``waits_ms``: by table, the event time from the end of a window until it is due."""
        self._waits_ms = waits_ms
        self._tp = tp
        self._clock = clock
        self._window_s = settings.poison_window_s
        limits = PoisonLimits(
            settings.poison_window_s,
            settings.poison_min_records,
            settings.poison_max_ratio,
            settings.poison_min_tenants,
        )
        self._breaker = PoisonBreaker(tp, limits)
        self._holds: dict[Owner, _Hold] = {}
        self._owner: dict[HeldWindow, Owner] = {}
        self._tries: list[tuple[float, int, Owner]] = []
        """heap of when an owner is tried; an entry whose time is not the owner's is void"""
        self._numbers = itertools.count()
        self._closed: Counter[Owner] = Counter()
        """calls that succeeded since the last failure"""
        self._closed_since_s = clock.monotonic()
        self._letters_per_s = max(1.0, settings.quarantine_letters_per_s)
        self._letters = LetterRate(self._letters_per_s)
        self._order: CloseOrder | None = None
        self._ordered: list[HeldWindow] = []
        """held windows that the order covers"""

    def __len__(self) -> int:
        return len(self._owner)

    def __contains__(self, window: HeldWindow) -> bool:
        return window in self._owner

    def owners(self) -> Iterator[HeldOwner]:
        """Those with the most held windows first."""
        for owner, hold in heapq.nlargest(
            _OWNERS_SHOWN, self._holds.items(), key=lambda one: len(one[1].windows)
        ):
            yield HeldOwner(_shown(owner), hold.table, len(hold.windows), hold.code, hold.why[:300])

    def take_order(self, order: CloseOrder) -> None:
        """H5."""
        if self._order is None or self._order.id != order.id:
            self._order = order
            self._ordered = [
                window
                for window, owner in self._owner.items()
                if self._covers(order, owner, window)
            ]

    def ordered_end(self, owner: Owner, window: HeldWindow) -> WindowDropped | None:
        """Why the window closes without a call."""
        order = self._order
        if order is None or not (order.untried or window in self._owner):
            return None
        if not self._covers(order, owner, window):
            return None
        return WindowDropped(f"by order of {order.actor}: {order.reason}")

    def _covers(self, order: CloseOrder, owner: Owner, window: HeldWindow) -> bool:
        return order.covers(window.table, owner, window.end_ms + self._waits_ms[window.table])

    def may_write(self, owner: Owner, error: BadRecord) -> bool:
        """Whether the dead letter of a refused close is ordered, or within the rate of its owner."""
        return isinstance(error, WindowDropped) or self._letters.take(
            _account(owner), self._clock.monotonic()
        )

    def waits(self, owner: Owner) -> bool:
        """Whether due windows of this owner are to be held without a call."""
        hold = self._holds.get(owner)
        return hold is not None and hold.all_wait

    def next_due(self) -> HeldWindow | None:
        """The held window to try now, or to close by order."""
        while self._ordered:
            if self._ordered[-1] in self._owner:
                return self._ordered[-1]
            self._ordered.pop()
        while self._tries:
            at_s, _, owner = self._tries[0]
            hold = self._holds.get(owner)
            if hold is not None and hold.windows and hold.retry_at_s == at_s:
                return next(iter(hold.windows)) if at_s <= self._clock.monotonic() else None
            heapq.heappop(self._tries)
        return None

    def add(self, owner: Owner, window: HeldWindow) -> None:
        """Hold another window of an owner that `waits`."""
        hold = self._holds[owner]
        hold.windows[window] = None
        self._owner[window] = owner

    def restored(self, owner: Owner, window: HeldWindow) -> None:
        """A former owner of the partition held it: it is tried at once."""
        hold = self._hold(owner, window, AgentFailed.code, "a call of a former process failed")
        self._try_at(owner, hold, self._clock.monotonic())

    def closed(self, owner: Owner, window: HeldWindow) -> None:
        """The window is closed; the next one of its owner is tried at once."""
        if len(self._closed) >= _COUNTED_MAX:
            self._closed.clear()
        self._closed[owner] += 1
        hold = self._holds.get(owner)
        if hold is None:
            return
        hold.windows.pop(window, None)
        self._owner.pop(window, None)
        if not hold.windows:
            del self._holds[owner]
            log.info("window_hold_ended", tp=str(self._tp), tenant=_shown(owner))
            return
        hold.all_wait = False
        self._try_at(owner, hold, self._clock.monotonic())

    def limited(self, owner: Owner, window: HeldWindow, code: str) -> None:
        """H2 for a refused close: its dead letter would be above the owner's rate of them."""
        why = "its dead letters are written at the rate of DIA_QUARANTINE_LETTERS_PER_S"
        self._hold_all(owner, window, code, why, 1 / self._letters_per_s)

    def rests(self, owner: Owner, window: HeldWindow) -> None:
        """H2 without a call: calls for this owner wait longer than those of others."""
        why = "earlier calls for this tenant have had their share of the agent's time"
        self._hold_all(owner, window, TenantOverQuota.code, why, FIRST_PAUSE_S)

    def _hold_all(
        self, owner: Owner, window: HeldWindow, code: str, why: str, pause_s: float
    ) -> None:
        """Hold the window, and all of its owner that become due, until after the pause."""
        hold = self._hold(owner, window, code, why)
        hold.all_wait = True
        self._try_at(owner, hold, self._clock.monotonic() + pause_s)

    def failed(self, owner: Owner, window: HeldWindow, code: str, why: str, took_s: float) -> None:
        """H2 of a call that took ``took_s``. Raises `AgentFailed` (H4)."""
        now_s, again = self._clock.monotonic(), window in self._owner
        hold = self._hold(owner, window, code, why)
        if again:
            hold.pause_s = min(2 * hold.pause_s, LONGEST_PAUSE_S)
        hold.all_wait = took_s > _SLOW_S
        at_s = now_s + max(hold.pause_s, _REST * took_s)
        if again or hold.all_wait or hold.retry_at_s <= now_s:
            self._try_at(owner, hold, at_s)
        if not again:
            self._count(owner, why)

    def _hold(self, owner: Owner, window: HeldWindow, code: str, why: str) -> _Hold:
        """With the window as the last one to try."""
        hold = self._holds.get(owner)
        if hold is None:
            hold = self._holds[owner] = _Hold(window.table, code, why)
            log.error(
                "window_held",
                tp=str(self._tp),
                tenant=_shown(owner),
                table=window.table,
                code=code,
                why=why,
            )
        hold.table, hold.code, hold.why = window.table, code, why
        hold.windows.pop(window, None)
        hold.windows[window] = None
        self._owner[window] = owner
        return hold

    def _try_at(self, owner: Owner, hold: _Hold, at_s: float) -> None:
        hold.retry_at_s = at_s
        heapq.heappush(self._tries, (at_s, next(self._numbers), owner))

    def _count(self, owner: Owner, why: str) -> None:
        now_s = self._clock.monotonic()
        counts = self._closed if now_s - self._closed_since_s <= self._window_s else Counter()
        self._closed, self._closed_since_s = Counter(), now_s
        counts[owner] += 1
        of_tenants = {_account(one): count for one, count in counts.items()}
        bad = {_account(owner): 1}
        try:
            self._breaker.observe(now_s, counts.total(), bad, lambda: of_tenants, 0)
        except PoisonStorm as storm:
            raise AgentFailed(
                f"on_window_close failed for {storm.bad} of the last {storm.records} windows of "
                f"{self._tp} that closed, of many tenants: {why}. The windows stay in the state. "
                "Fix it and restart the worker."
            ) from None


def unowned(source: Topic) -> Owner:
    """Whose are windows that no single tenant made, and what an event without a tenant writes."""
    return SHARED if source.tenant_field else ""


def fault(error: Exception) -> tuple[str, str]:
    """Code and description of a call that raised."""
    code = error.code if isinstance(error, DiaError) else AgentFailed.code
    return code, _what_failed(error)


def _what_failed(error: Exception) -> str:
    """Type and place of an exception. Its text may hold values of events, which no log shows."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"on_window_close raised {type(error).__name__}{place}"


def _account(owner: Owner) -> bytes:
    if owner is SHARED:
        return _OF_SEVERAL
    return owner.encode(errors="replace") if owner else UNKNOWN_TENANT


def _shown(owner: Owner) -> str:
    return "several tenants" if owner is None else owner[:_NAMES_SHOWN]
