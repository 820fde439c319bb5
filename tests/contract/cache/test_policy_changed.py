"""PolicyChanged notices from one process to the validators of other processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import msgspec
import pytest

from streams.connect.cache.kind import POLICY, owned
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.process import shared_layer
from streams.connect.cache.redis import EVENTS_CHANNEL, connect
from streams.connect.cache.shared import CacheKey, present
from streams.connect.policy.change import policy_changed
from streams.connect.policy.policy import Policy, PolicyRequest
from streams.connect.policy.validator import PolicyValidator, policy_cache
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import CacheUnavailable
from streams.core.job_refusals import PolicyRejected
from streams.core.telemetry.metrics import Metrics
from tests.contract.cache.conftest import until

SECRET = b"of this cluster's caches"


class Source:
    """The policy source of all processes; it counts requests."""

    def __init__(self):
        self.policy = None
        self.asked = 0

    async def fetch(self, tenant_id, policy_id):
        self.asked += 1
        return self.policy

    async def close(self):
        """Nothing to close."""


class Process:
    """The policy cache of one worker."""

    def __init__(self, pod, source, secret=SECRET):
        clock, metrics = SystemClock(), Metrics()
        layer = shared_layer(pod.shared, clock, metrics, secret)
        self.validator = PolicyValidator(source, policy_cache(clock, metrics, layer))
        self.invalidations = layer.invalidations
        self.listening = asyncio.create_task(self.invalidations.run())

    async def allows(self, tenant, policy):
        question = PolicyRequest(
            tenant_id=tenant, policy_id=policy, model_id="m", scenario="s", trials=1
        )
        try:
            await self.validator.check(question)
        except PolicyRejected:
            return False
        return True

    async def stop(self):
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)


async def test_a_changed_policy_applies_in_every_process_at_once(pod):
    """A tenant must not simulate under a withdrawn policy until the cache entry expires."""
    source = Source()
    names = pod.cache, "p"
    source.policy = Policy(tenant_id=names[0], policy_id="p")
    processes = [Process(pod, source) for _ in range(3)]
    await until(lambda: all(process.invalidations.live for process in processes))
    assert all([await process.allows(*names) for process in processes])
    source.policy = Policy(tenant_id=names[0], policy_id="p", active=False)
    assert all([await process.allows(*names) for process in processes])
    asked = source.asked
    await policy_changed(pod.shared, *names, 5, "tester")

    async def refused():
        return [not await process.allows(*names) for process in processes]

    for _ in range(200):
        if all(await refused()):
            break
        await asyncio.sleep(0.01)
    assert all(await refused())
    assert source.asked == asked + 1
    for process in processes:
        await process.stop()


@pytest.mark.parametrize("secret", [b"", SECRET], ids=["no secret", "secret"])
async def test_a_policy_entry_forged_in_redis_is_ignored(pod, secret):
    """A client with Redis's password must not grant a tenant what the policy service refuses."""
    names = pod.cache, "p"
    source = Source()
    source.policy = Policy(tenant_id=names[0], policy_id="p", active=False)
    allowed = present(msgspec.msgpack.encode(Policy(tenant_id=names[0], policy_id="p")))
    await pod.shared.advance(CacheKey(POLICY.name, owned(*names)), None, allowed, 60.0)
    process = Process(pod, source, secret)
    await until(lambda: process.invalidations.live)
    assert not await process.allows(*names)
    assert source.asked == 1
    await process.stop()


async def test_without_a_secret_each_process_asks_the_service_and_receives_notices(pod):
    """Without a secret, entries in Redis cannot be trusted: processes use only its notices."""
    names = pod.cache, "p"
    source = Source()
    source.policy = Policy(tenant_id=names[0], policy_id="p")
    processes = [Process(pod, source, b"") for _ in range(2)]
    await until(lambda: all(process.invalidations.live for process in processes))
    assert all([await process.allows(*names) for process in processes for _ in range(2)])
    assert source.asked == 2
    source.policy = Policy(tenant_id=names[0], policy_id="p", active=False)
    await policy_changed(pod.shared, *names, 5, "tester")
    for _ in range(200):
        if not any([await process.allows(*names) for process in processes]):
            break
        await asyncio.sleep(0.01)
    assert not any([await process.allows(*names) for process in processes])
    for process in processes:
        await process.stop()


@pytest.mark.stack
async def test_the_command_notifies_other_programs(redis_server):
    """Other programs subscribe to one channel for the events of all policies."""
    ears = connect(redis_server.url, 2.0)
    heard = ears.pubsub()
    await heard.subscribe(EVENTS_CHANNEL)
    while (await heard.get_message(timeout=200.0) or {}).get("type") != "subscribe":
        pass
    command = "policy", "changed", "acme", "p"
    environ = {**os.environ, "DIA_REDIS_URL": redis_server.url}
    told = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams", *command), env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    assert await told.wait() == 0
    message = await heard.get_message(ignore_subscribe_messages=True, timeout=200.0)
    event = json.loads(message["data"])
    assert event["ts"] > 1_700_000_000_000
    assert event["actor"]
    assert (event["event"], event["tenant_id"], event["policy_id"]) == (
        "PolicyChanged", "acme", "p",
    )  # fmt: skip
    await heard.aclose()
    await ears.aclose(close_connection_pool=True)


async def test_other_programs_are_notified_which_policy_changed_and_by_which_actor():
    """One event per change lets a subscriber drop exactly that policy from its own cache."""
    shared = MemoryShared(VirtualClock())
    await policy_changed(shared, "acme", "p", 5, "tester")
    assert [json.loads(event) for event in shared.told] == [
        {
            "event": "PolicyChanged",
            "tenant_id": "acme",
            "policy_id": "p",
            "actor": "tester",
            "ts": 5,
        }
    ]


async def test_a_change_that_reaches_no_subscriber_is_an_error(away):
    """The sender must repeat the change: without the error, the old policy would stay in force."""
    with pytest.raises(CacheUnavailable):
        await policy_changed(away.shared, "acme", "p", 5, "tester")
