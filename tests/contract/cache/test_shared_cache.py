"""The contract of shared cache layers: floors, entries, claims and notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streams.connect.cache.shared import CacheKey, Notice, SharedCache
from streams.core.errors import CacheUnavailable
from tests.contract.cache.conftest import Pod, RecordingListener, until

TTL_S = 60.0


async def test_an_entry_is_valid_while_its_version_is_the_floor(pod: Pod):
    """Staleness is decided by this comparison alone."""
    key = pod.key()
    floor = await pod.shared.floor(key, stamped=True)
    await pod.shared.fill(key, floor, b"old", TTL_S)
    assert (await pod.shared.read(key)).valid
    assert await pod.shared.advance(key, None, None, TTL_S) > floor
    await pod.shared.fill(key, floor, b"old", TTL_S)
    stored = await pod.shared.read(key)
    assert stored.body == b"old"
    assert not stored.valid


async def test_a_floor_stays_until_it_is_raised(pod: Pod):
    """Two loaders with different floors would invalidate each other's entries."""
    assert await pod.shared.floor(pod.key(), stamped=True) == await pod.shared.floor(
        pod.key(), stamped=True
    )


async def test_an_unwritten_name_is_a_miss(pod: Pod):
    """Callers distinguish a miss from a value."""
    assert (await pod.shared.read(pod.key("nobody")))[:3] == (None, None, None)


async def test_versions_only_rise(pod: Pod):
    """Changes arrive repeatedly, late and out of order: the newest version must win."""
    key = pod.key()
    assert await pod.shared.advance(key, 7, b"seven", TTL_S) == 7
    assert await pod.shared.advance(key, 6, b"six", TTL_S) == 7
    assert await pod.shared.advance(key, 7, b"seven", TTL_S) == 7
    assert (await pod.shared.read(key))[:3] == (7, 7, b"seven")


async def test_a_load_is_stored_only_while_its_floor_exists(pod: Pod):
    """A floor that was evicted during the load may have recorded a newer version."""
    key = pod.key()
    assert await pod.shared.advance(key, 1, b"one", TTL_S, floored=True) is None
    assert (await pod.shared.read(key))[:3] == (None, None, None)
    assert await pod.shared.floor(key, stamped=False) == 0
    assert await pod.shared.advance(key, 1, b"one", TTL_S, floored=True) == 1
    assert await pod.shared.floor(key, stamped=False) == 1


async def test_large_versions_are_exact(pod: Pod):
    """Redis scripts compute with doubles: versions (epoch and sequence) must stay exact."""
    version = (4095 << 40) | 987_654_321
    assert await pod.shared.advance(pod.key(), version, b"v", TTL_S) == version
    assert await pod.shared.advance(pod.key(), version - 1, b"v", TTL_S) == version


async def test_an_invalidation_deletes_the_entry(pod: Pod):
    """An entry known to be stale must not use memory."""
    key = pod.key()
    await pod.shared.advance(key, 1, b"one", TTL_S)
    await pod.shared.advance(key, 2, None, TTL_S)
    assert (await pod.shared.read(key))[:3] == (2, None, None)


async def test_entries_expire(pod: Pod):
    """Expiry bounds the staleness after a change whose notice was lost."""
    key = pod.key()
    await pod.shared.advance(key, 1, b"short", 0.02)
    for _ in range(500):
        if (stored := await pod.shared.read(key)).body is None:
            break
        await asyncio.sleep(0.01)
    assert stored.body is None


async def test_an_entry_returns_its_remaining_lifetime_in_seconds(pod: Pod):
    """Another process keeps the entry only for that long: lifetimes must not add up."""
    key = pod.key()
    await pod.shared.advance(key, 1, b"one", TTL_S)
    first = (await pod.shared.read(key)).rest_s
    assert 0 < first <= TTL_S
    await pod.shared.fill(key, 1, b"two", 2 * TTL_S)
    assert TTL_S < (await pod.shared.read(key)).rest_s <= 2 * TTL_S


async def test_any_bytes_pass_through(pod: Pod):
    """Values are msgpack, not text."""
    key, body = pod.key("a b/ü}*"), bytes(range(256))
    await pod.shared.advance(key, 1, body, TTL_S)
    await pod.shared.fill(key, 1, body, TTL_S)
    assert (await pod.shared.read(key)).body == body


async def test_matching_takes_globs_within_one_cache(pod: Pod):
    """An administrator's sweep deletes what its pattern matches and nothing else."""
    for name in ("a1", "a2", "b1", "x[1]"):
        await pod.shared.floor(pod.key(name), stamped=True)
    await pod.shared.floor(CacheKey(pod.cache + "x", "a3"), stamped=True)
    assert {name async for name in pod.shared.matching(pod.cache, "a*")} == {"a1", "a2"}
    assert {name async for name in pod.shared.matching(pod.cache, "?1")} == {"a1", "b1"}
    assert len({name async for name in pod.shared.matching(pod.cache, "*")}) == 4


async def test_matching_reads_beyond_one_page(pod: Pod):
    """Redis answers SCAN in pages."""
    names = {f"n{i}" for i in range(1200)}
    await asyncio.gather(*(pod.shared.floor(pod.key(name), stamped=True) for name in names))
    assert {name async for name in pod.shared.matching(pod.cache, "n*")} == names


async def test_a_claim_belongs_to_one_process_until_released(pod: Pod):
    """Stampede guard: one process loads, the others wait."""
    first = await pod.shared.claim(pod.key(), TTL_S)
    assert first is not None
    assert await pod.shared.claim(pod.key(), TTL_S) is None
    assert await pod.shared.claim(pod.key("other"), TTL_S) is not None
    await first.release()
    assert await pod.shared.claim(pod.key(), TTL_S) is not None


async def test_an_expired_claim_does_not_release_its_successors(pod: Pod):
    """A paused loader must not release the claim of the next loader."""
    late = await pod.shared.claim(pod.key(), 0.02)
    assert late is not None
    for _ in range(500):
        if (next_one := await pod.shared.claim(pod.key(), TTL_S)) is not None:
            break
        await asyncio.sleep(0.01)
    assert next_one is not None
    await late.release()
    assert await pod.shared.claim(pod.key(), TTL_S) is None
    await next_one.release()


async def test_listeners_receive_changes_in_order(pod: Pod):
    """Each advance that raises a floor is published after the floor is stored."""
    ear, _ = await pod.listening()
    assert ear.connections == 1
    await pod.shared.advance(pod.key("a"), 3, b"x", TTL_S)
    await pod.shared.advance(pod.key("a"), 2, b"x", TTL_S)
    await pod.shared.announce(Notice(pod.cache, None, 0))
    await until(lambda: len(ear.notices) == 2)
    assert ear.notices == [Notice(pod.cache, "a", 3), Notice(pod.cache, None, 0)]


async def _scan(shared: SharedCache, key: CacheKey) -> None:
    assert [name async for name in shared.matching(key.cache, "*")] == []


CALLS: dict[str, Callable[[SharedCache, CacheKey], Awaitable[object]]] = {
    "read": lambda shared, key: shared.read(key),
    "floor": lambda shared, key: shared.floor(key, stamped=True),
    "fill": lambda shared, key: shared.fill(key, 1, b"", TTL_S),
    "advance": lambda shared, key: shared.advance(key, None, None, TTL_S),
    "claim": lambda shared, key: shared.claim(key, TTL_S),
    "announce": lambda shared, key: shared.announce(Notice(key.cache, None, 0)),
    "scan": _scan,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_unreachable_layer_raises_cache_unavailable(away: Pod, call):
    """Callers handle one error to work without the cache: `CacheUnavailable`."""
    with pytest.raises(CacheUnavailable):
        await call(away.shared, away.key())


async def test_listening_ends_when_cancelled_at_any_moment(pod: Pod):
    """A process may stop while its listener connects; a client library that swallows the
    cancellation would keep the process alive."""
    for turns in range(40):
        task = asyncio.create_task(pod.shared.listen(RecordingListener()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(200):
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_lost_connection_ends_listening(pod: Pod):
    """The listener may have missed notices: its owner has to know."""
    ear, task = await pod.listening()
    assert ear.connections == 1
    await pod.sever()
    await until(task.done)
    with pytest.raises(CacheUnavailable):
        await task
