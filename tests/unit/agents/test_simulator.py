"""The work of `simulate_decision`: its checks before a run, and its errors."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from agents.app import app
from agents.simulator import Simulator
from schemas.simulation import SimulationRequest
from streams.connect.policy.policy import Policy
from streams.connect.policy.stub import StubPolicyService
from streams.connect.policy.validator import PolicyValidator
from streams.connect.sinks.minutes import BREAKER, Minute, MinuteReader
from streams.core.clock import VirtualClock, settle
from streams.core.errors import (
    BreakerOpen,
    PolicyServiceFailed,
    PolicyServiceUnavailable,
    ShardUnavailable,
)
from streams.core.job_refusals import InvalidParameters, PolicyRejected, SimulationTimeout
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.agents.job_agent import Outcome
from streams.engine.pool.inline import InlinePool
from streams.engine.scenarios import hook_calls, job
from streams.engine.scenarios.hook_calls import HookCalls
from tests.unit.agents.simulation_request import REQUEST

HISTORY = {
    "scenario": "replay_metrics",
    "parameters": {"metric": "latency", "minutes": 5},
}


def asked(**changes):
    return SimulationRequest(
        **{name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__} | changes
    )


class Minutes:
    """A `MinuteReader` with configured answers."""

    def __init__(self):
        self.fails = None
        self.reads = []

    def shard_of(self, tenant, model, metric):
        return 3

    async def read(self, *asked):
        self.reads.append(asked)
        if self.fails is not None:
            raise self.fails
        return [Minute(1_699_999_980, 2, 3.0, [1], [2])]

    async def close(self):
        """Nothing to close."""


class Rig:
    def __init__(self, policy_url="", policy_file=""):
        self.scenarios = dict(app.scenarios)
        self.clock = VirtualClock()
        self.metrics = Metrics()
        self.minutes = Minutes()
        self.takes_s = 0.0
        settings = Settings(policy_url=policy_url, policy_file=policy_file, policy_timeout_s=30.0)
        self.hooks = HookCalls(self.metrics, limit_s=0.2)
        self.simulator = Simulator(
            self.scenarios,
            InlinePool(job.run, size=2, clock=self.clock, takes_s=lambda _: self.takes_s),
            self.minutes,
            PolicyValidator.from_settings(settings, self.clock, self.metrics, None),
            self.hooks,
        )

    async def run(self, request, timeout_s=30.0):
        prepared = await self.simulator.prepare(request)
        return await self.simulator.perform(request, prepared, timeout_s)


@pytest.fixture
async def rig(tmp_path):
    policies = tmp_path / "policies.json"
    policies.write_text('{"policies": [{"tenant_id": "acme", "policy_id": "p", "max_trials": 9}]}')
    made = Rig(policy_file=str(policies))
    yield made
    await made.simulator.close()


async def test_a_request_is_checked_against_its_policy(rig):
    """A request that its policy forbids must not run."""
    assert (await rig.run(asked(policy_id="p", trials=9)))["trials"] == 9
    with pytest.raises(PolicyRejected, match="allows 9 trials, 10 were requested") as refused:
        await rig.run(asked(policy_id="p"))
    assert refused.value.need == "policy acme/p"
    with pytest.raises(PolicyRejected, match="has no policy 'q'"):
        await rig.run(asked(policy_id="q"))
    assert (await rig.run(REQUEST))["trials"] == 10


def test_dependencies_of_a_request_are_known_before_it_starts(rig):
    """Work waits under these names; a request without a policy must not wait for one."""
    needs = rig.simulator.needs
    assert needs(REQUEST) == ()
    assert needs(asked(policy_id="p")) == ("policy_service", "policy acme/p")
    assert needs(asked(**HISTORY)) == ("shard 3",)
    assert needs(asked(policy_id="p", **HISTORY)) == (
        "policy_service", "policy acme/p", "shard 3",
    )  # fmt: skip
    assert needs(asked(scenario="nothing of the kind")) == ()
    assert needs(asked(scenario="replay_metrics", parameters={"metric": 5})) == ()


async def test_a_failing_policy_affects_only_its_requests():
    """Requests of that policy wait; requests of others go on."""
    async with StubPolicyService() as stub:
        stub.policies.append(Policy(tenant_id="acme", policy_id="good"))
        stub.failing.add("bad")
        rig = Rig(policy_url=stub.url)
        waiting = asyncio.ensure_future(rig.run(asked(policy_id="bad")))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await rig.clock.advance(1.0)
        with pytest.raises(PolicyServiceFailed, match="policy acme/bad") as failed:
            await waiting
        assert failed.value.need == "policy acme/bad"
        assert (await rig.run(asked(policy_id="good")))["trials"] == 10
        await rig.simulator.close()


async def test_all_policies_wait_for_an_absent_service():
    """One request at a time probes the service for all of them, until it is back."""
    async with StubPolicyService() as stub:
        stub.down = True
        rig = Rig(policy_url=stub.url)
        waiting = asyncio.ensure_future(rig.run(asked(policy_id="p")))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await rig.clock.advance(1.0)
        with pytest.raises(PolicyServiceUnavailable) as failed:
            await waiting
        assert failed.value.need == "policy_service"
        await rig.simulator.close()


async def test_history_is_read_before_the_run_and_its_failure_names_the_shard(rig):
    """The read takes no slot of the pool; requests of other shards go on."""
    summary = await rig.run(asked(**HISTORY))
    assert summary["minutes"] == 1
    assert rig.minutes.reads == [("acme", "m", "latency", 1_699_999_740, 1_700_000_040)]
    rig.minutes.fails = ShardUnavailable("away")
    with pytest.raises(ShardUnavailable) as failed:
        await rig.simulator.prepare(asked(**HISTORY))
    assert failed.value.need == "shard 3"


async def test_an_invalid_request_is_answered_without_dependencies(rig):
    """The answer needs neither the policy service nor a shard."""
    with pytest.raises(InvalidParameters):
        await rig.run(asked(policy_id="p", scenario="replay_metrics", parameters={"metric": 5}))
    assert rig.minutes.reads == []


async def test_a_run_ends_at_the_rest_of_its_limit(rig):
    """The scenario's limit minus the time of preparation: otherwise a slow scenario keeps a
    process.
    """
    rig.takes_s = 5.0
    running = asyncio.ensure_future(rig.run(REQUEST, timeout_s=4.0))
    await settle()
    await rig.clock.advance(4.1)
    with pytest.raises(SimulationTimeout, match="ran for 4 s"):
        await running


@pytest.mark.parametrize(
    ("status", "hook"), [("completed", "on_completed"), ("failed", "on_failed")]
)
async def test_a_hook_is_called_with_its_result(rig, status, hook):
    """Authors of a scenario learn its result from the hook; the other hook must not be called."""
    told, wrong = [], []
    hooks = {"on_completed": wrong.append, "on_failed": wrong.append, hook: told.append}
    rig.scenarios["monte_carlo"] = replace(rig.scenarios["monte_carlo"], **hooks)
    rig.simulator.finished(REQUEST, Outcome(status, {"a": 1}, "code", "why", 1, 2))
    await until(lambda: told)
    assert told == [
        {
            "tenant_id": "acme",
            "idempotency_key": "k",
            "request_id": "r",
            "status": status,
            "summary": {"a": 1},
            "error_code": "code",
        }
    ]
    assert wrong == []


async def until(holds):
    async with asyncio.timeout(200):
        while not holds():  # noqa: ASYNC110 - a thread has no notification
            await asyncio.sleep(0.01)


def failures(metrics, why):
    return metrics.jobs.hook_failures.labels("s", why)._value.get()


async def test_a_hanging_hook_delays_no_other_and_not_the_event_loop(rig):
    """A webhook that does not answer must not block commits, heartbeats and other hooks."""
    release, told, ended = threading.Event(), [], []
    rig.hooks.call("s", lambda result: ended.append(release.wait(200)), {})
    rig.hooks.call("s", told.append, {"second": 1})
    await until(lambda: told)
    assert ended == [], "the event loop must run while the hook hangs"
    assert failures(rig.metrics, "late") == 1
    release.set()


async def test_the_number_of_hanging_hooks_is_bounded(rig):
    """Each hanging hook keeps a thread that cannot be stopped, so their number is bounded."""
    release, told = threading.Event(), []
    for _ in range(hook_calls.ABANDONED_MAX):
        rig.hooks.call("s", lambda result: release.wait(200), {})
    await until(lambda: failures(rig.metrics, "late") == hook_calls.ABANDONED_MAX)
    rig.hooks.call("s", told.append, {})
    assert failures(rig.metrics, "dropped") == 1
    release.set()
    await until(lambda: not rig.hooks._abandoned)
    rig.hooks.call("s", told.append, {})
    await until(lambda: told)


async def test_a_hook_that_raises_is_counted_and_the_next_is_called(rig):
    """The hook's author sees the metric; requests are unaffected."""
    told = []
    rig.hooks.call("s", lambda result: 1 / 0, {})
    rig.hooks.call("s", told.append, {})
    await until(lambda: told)
    assert failures(rig.metrics, "raised") == 1


async def test_a_failing_shard_is_not_read_while_its_breaker_is_open():
    """While the breaker of a shard is open, a read of history takes neither a thread nor a wait."""
    clock, metrics = VirtualClock(), Metrics()
    url = "http://127.0.0.1:1"
    reader = MinuteReader(Settings(clickhouse_shards=url), clock, metrics)
    for _ in range(3):
        with pytest.raises(ShardUnavailable):
            await reader.read("t", "m", "x", 0, 60)
    with pytest.raises(BreakerOpen):
        await reader.read("t", "m", "x", 0, 60)
    await clock.advance(9.9)
    assert reader.breakers[0].state == "open"
    await clock.advance(0.2)
    assert reader.breakers[0].state == "half_open"
    assert BREAKER.successes == 1
    await reader.close()
