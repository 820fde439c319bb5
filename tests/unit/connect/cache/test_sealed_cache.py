"""Entries in Redis count only if a process of this cluster wrote them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.redis import _hear
from streams.connect.cache.sealed import SKEW_MS, SealedShared, secret_of
from streams.connect.cache.shared import CacheKey, Notice
from streams.core.clock import VirtualClock, settle
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

SECRET = b"sixteen bytes and"
KEY = CacheKey("policy", "4:acme/p")
TTL_S = 60.0


def _sealed(shared, secret=SECRET):
    return SealedShared(shared, secret, shared.clock)


async def _kept(shared, body=b"+allowed"):
    """Redis's contents of an entry that this cluster wrote."""
    await _sealed(shared).advance(KEY, 1, body, TTL_S)
    return (await shared.read(KEY)).body


async def test_processes_with_one_secret_accept_each_others_entries():
    """Processes with the same secret share the cache."""
    shared = MemoryShared(VirtualClock())
    await _kept(shared)
    assert (await _sealed(shared).read(KEY)).body == b"+allowed"
    assert (await _sealed(shared, b"another secret!!").read(KEY)).body is None


async def test_an_entry_is_bound_to_its_name():
    """A copied entry is invalid: one tenant's policy would allow another tenant's work."""
    shared = MemoryShared(VirtualClock())
    kept = await _kept(shared)
    for other in (CacheKey("policy", "5:globe/p"), CacheKey("policy4", ":acme/p")):
        await shared.advance(other, 1, kept, TTL_S)
        assert (await _sealed(shared).read(other)).body is None


async def test_a_restored_entry_keeps_its_end_time():
    """An old entry that an attacker restores still ends at its own time; with the new version it is
    valid until then, as after a lost notice.
    """
    clock = VirtualClock()
    shared = MemoryShared(clock)
    kept = await _kept(shared)
    await clock.advance(TTL_S - 1)
    await shared.advance(KEY, 2, kept, 1e6)
    assert (await _sealed(shared).read(KEY)).body == b"+allowed"
    await clock.advance(1 + SKEW_MS / 1000)
    assert (await _sealed(shared).read(KEY)).body is None


@given(st.data())
def test_a_changed_byte_invalidates_an_entry(data):
    """Neither a byte of the value nor one of its end time."""
    shared = MemoryShared(VirtualClock())
    kept = asyncio.run(_kept(shared))
    at = data.draw(st.integers(0, len(kept) - 1))
    changed = bytearray(kept)
    changed[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(kept) - 1))
    for forged in (bytes(changed), kept[:cut], b"+allowed", b"-", b""):
        asyncio.run(shared.advance(KEY, 3, forged, TTL_S))
        assert asyncio.run(_sealed(shared).read(KEY)).body is None


def test_a_short_secret_is_refused(tmp_path):
    """A short secret can be guessed."""
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    with pytest.raises(UsageError, match="at least 16"):
        secret_of(Settings(cache_secret_file=str(path)))
    path.write_text("x" * 40 + "\n")
    assert secret_of(Settings(cache_secret_file=str(path))) == b"x" * 40
    assert secret_of(Settings()) == b""


class _Layer:
    name = "policy"

    def __init__(self):
        self.forgotten, self.cleared = [], 0

    def forget(self, name, version):
        self.forgotten.append((name, version))

    def clear(self):
        self.cleared += 1


@pytest.mark.parametrize(
    "garbage",
    [b"", b"x", b"\xff", b"{}", b"[]", b'["policy", "p"]', b'["policy", "p", "x"]', b"[" * 9999],
)
def test_an_invalid_message_does_not_end_the_listener(garbage):
    """An invalid message must not end the listening of any process."""
    clock = VirtualClock()
    ear, layer = Invalidations(MemoryShared(clock), clock, Metrics()), _Layer()
    ear.add(layer)
    _hear(ear, garbage)
    assert (ear.live, layer.cleared) == (True, 1), "an unreadable notice must clear the whole L1"
    _hear(ear, b'["policy", "p", "7"]')
    assert layer.forgotten == [("p", 7)]


async def test_a_listener_that_fails_listens_again():
    """Whatever exception a client library raises."""
    clock, broken = VirtualClock(), [RuntimeError("a bug")]

    class Failing(MemoryShared):
        async def listen(self, listener):
            if broken:
                raise broken.pop()
            await super().listen(listener)

    shared = Failing(clock)
    ear, layer = Invalidations(shared, clock, Metrics()), _Layer()
    ear.add(layer)
    running = asyncio.create_task(ear.run())
    await settle()
    assert not ear.live
    await clock.advance(1)
    await settle()
    assert ear.live
    await shared.announce(Notice("policy", "p", 3))
    await settle()
    assert layer.forgotten == [("p", 3)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_secret_of_the_least_length_is_accepted(tmp_path):
    """The message says: at least 16 bytes."""
    path = tmp_path / "secret"
    path.write_text("x" * 15 + "\n")
    with pytest.raises(UsageError, match="holds 15 bytes"):
        secret_of(Settings(cache_secret_file=str(path)))
    path.write_text("x" * 16 + "\n")
    assert secret_of(Settings(cache_secret_file=str(path))) == b"x" * 16


async def test_an_empty_value_is_an_entry():
    """It is as long as its seal."""
    shared = MemoryShared(VirtualClock())
    await _kept(shared, b"")
    assert (await _sealed(shared).read(KEY)).body == b""


async def test_a_sealed_layer_does_all_that_its_layer_does():
    """A load that fills it, notices, events and listeners reach Redis."""
    clock = VirtualClock()
    shared = MemoryShared(clock)
    sealed, layer = _sealed(shared), _Layer()
    ear = Invalidations(sealed, clock, Metrics())
    ear.add(layer)
    running = asyncio.create_task(ear.run())
    await settle()
    assert layer.cleared == 1
    await sealed.fill(KEY, 5, b"+filled", TTL_S)
    assert (await sealed.read(KEY)).body == b"+filled"
    assert (await shared.read(KEY)).body != b"+filled"
    await sealed.announce(Notice("policy", "p", 3))
    await sealed.tell(b"changed")
    await settle()
    assert (layer.forgotten, shared.told) == ([("p", 3)], [b"changed"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_closing_a_sealed_layer_closes_its_connection():
    """A console that stops must not leave connections at Redis."""
    closed = []

    class Connection(MemoryShared):
        async def close(self):
            closed.append(True)

    await _sealed(Connection(VirtualClock())).close()
    assert closed == [True]
