"""Calls the `on_window_close` of `app.windows` (docs/protocols/held_closes.md).

A window is closed and its row owed whatever becomes of the call. What a failed call was given is kept in the
state (held_windows.py) until a later call succeeds, or an order ends it; it is not called with anything newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from streams.core.errors import AgentFailed, BadRecord, DiaError
from streams.core.records.bad_records import TenantOverQuota
from streams.core.topics.current_stream import Running, current
from streams.core.topics.topic import TENANT_FIELD, TENANT_MAX_CHARS
from streams.engine.runtime.effects.refused_close import RefusedClose
from streams.engine.runtime.partition.held_closes import (
    PASSING,
    HeldCloses,
    HeldWindow,
    fault,
    unowned,
)
from streams.engine.runtime.partition.known_partition import KnownPartition
from streams.engine.runtime.partition.staged import Staged
from streams.engine.state.key_owners import Owner
from streams.engine.streams.window_aggregates import AggregatedWindows, ClosedWindow
from streams.engine.windows.aggregated.aggregate_table import WindowRow
from streams.engine.windows.held_windows import HeldWindows, WindowCall

_TURN_S: Final = 0.05
"""held windows are tried for this long at a time"""

_encode = msgspec.msgpack.Encoder().encode


class CallingPartition(KnownPartition, Running, Protocol):
    """The partition whose windows close; calls send and owe by it."""

    failure: DiaError | None

    def join_call(self, staged: Staged) -> None: ...

    def bury_close(self, refused: RefusedClose) -> None: ...


class WindowCalls:
    """Of one partition. ``kept``: what is held, in the state."""

    def __init__(
        self,
        partition: CallingPartition,
        declared: Iterable[AggregatedWindows],
        kept: HeldWindows,
    ) -> None:
        self.staged: Staged | None = None
        """what the call in progress sends and owes"""
        self._partition = partition
        self._kept = kept
        self._unowned = unowned(partition.agent.source)
        self._declared = {one.name: one for one in declared if one.on_window_close is not None}
        # A session, which ends with its last event, waits for its gap, too.
        waits_ms = {name: one.gap_ms + one.grace_ms for name, one in self._declared.items()}
        self.held = HeldCloses(partition.tp, partition.settings, partition.clock, waits_ms)
        self._given: dict[HeldWindow, WindowCall] = {}
        for call in kept:
            if call.name in self._declared:
                self._given[_named(call)] = call
                self.held.restored(call.owner, _named(call))

    def close(self, declared: AggregatedWindows, window: WindowRow) -> None:
        """Of a window that closes in the next commit."""
        packed = _encode(window.row)
        owner = self._owner(declared, window.key)
        call = WindowCall(declared.name, window.key, window.start_ms, window.end_ms, owner, packed)
        if self.held.waits(owner) and self.held.ordered_end(owner, _named(call)) is None:
            if self._keep(call):
                self.held.add(owner, _named(call))
        else:
            self._try(call, window.row)

    def try_held(self) -> None:
        """Try those whose turn it is."""
        clock = self._partition.clock
        began_s = clock.monotonic()
        while self._partition.failure is None and clock.monotonic() - began_s < _TURN_S:
            window = self.held.next_due()
            if window is None:
                return
            call = self._given[window]
            self._try(call, call.values)

    def _owner(self, declared: AggregatedWindows, key: tuple[Any, ...]) -> Owner:
        if TENANT_FIELD not in declared.by:
            return self._unowned
        return str(key[declared.by.index(TENANT_FIELD)])[:TENANT_MAX_CHARS] or self._unowned

    def _try(self, call: WindowCall, values: Mapping[str, Any]) -> None:
        partition, window, clock = self._partition, _named(call), self._partition.clock
        error: BadRecord | None = self.held.ordered_end(call.owner, window)
        staged, began_s = Staged(), clock.monotonic()
        if error is None:
            self.staged = staged
            try:
                self._call(call, values)
            except PASSING as passing:
                partition.failure = partition.failure or passing
            except BadRecord as refused:
                error = refused
                staged.drop()
            except Exception as failed:  # noqa: BLE001 - any other exception is about the window
                self._hold(call, failed, clock.monotonic() - began_s)
                return
            finally:
                self.staged = None
        if partition.failure is not None:
            return
        if error is not None and not self._bury(call, error):
            return
        partition.join_call(staged)
        self._forget(call)
        self.held.closed(call.owner, window)

    def _call(self, call: WindowCall, values: Mapping[str, Any]) -> None:
        declared = self._declared[call.name]
        assert declared.on_window_close is not None
        key = dict(zip(declared.by, call.key, strict=True))
        token = current.set(self._partition)
        try:
            declared.on_window_close(ClosedWindow(key, call.start_ms, call.end_ms, dict(values)))
        except asyncio.CancelledError as error:
            raise RuntimeError("on_window_close raised CancelledError") from error
        finally:
            current.reset(token)

    def _hold(self, call: WindowCall, error: Exception, took_s: float) -> None:
        if not self._keep(call):
            return
        try:
            self.held.failed(call.owner, _named(call), *fault(error), took_s)
        except AgentFailed as stopped:
            self._partition.failure = stopped

    def _keep(self, call: WindowCall) -> bool:
        """False where its owner's share has no room: then a dead letter keeps the window."""
        if _named(call) in self._given:
            return True
        if not self._kept.fits(call):
            why = (
                f"the held windows of tenant {call.owner!r} have their share of the partition "
                "(DIA_MAX_TABLE_BYTES)"
            )
            self._partition.bury_close(_refusal(call, TenantOverQuota(why)))
            return False
        self._kept.put(call)
        self._given[_named(call)] = call
        return True

    def _bury(self, call: WindowCall, error: BadRecord) -> bool:
        """False where the letter would be above the owner's rate: the window is held."""
        if self.held.may_write(call.owner, error):
            self._partition.bury_close(_refusal(call, error))
        elif self._keep(call):
            self.held.limited(call.owner, _named(call), error.code)
            return False
        return True

    def _forget(self, call: WindowCall) -> None:
        if self._given.pop(_named(call), None) is not None:
            self._kept.remove(call)


def _named(call: WindowCall) -> HeldWindow:
    return HeldWindow(call.name, call.key, call.start_ms, call.end_ms)


def _refusal(call: WindowCall, error: BadRecord) -> RefusedClose:
    window = _named(call)
    return RefusedClose(*window, call.packed, call.owner, error, sent=False)
