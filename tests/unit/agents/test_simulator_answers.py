"""What the simulator makes of a request and of a process's answer, without a process."""

from __future__ import annotations

import os

import msgspec
import pytest

from agents.app import app
from agents.simulator import Simulator
from streams.core.clock import VirtualClock
from streams.core.job_refusals import InvalidParameters, SimulationFailed, UnknownScenario
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.agents.job_agent import Outcome, Resources
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios import job
from tests.unit.agents.simulation_request import REQUEST


class Closing:
    """A part that records its end."""

    def __init__(self):
        self.closed = False

    async def close(self):
        self.closed = True


class Pool(Closing):
    """Answers every job with ``answer``; three processes."""

    size = 3
    answer = b""

    async def run(self, prepared, timeout_s):
        return self.answer


class Hooks(Closing):
    def __init__(self):
        super().__init__()
        self.called = []

    def call(self, *said):
        self.called.append(said)


class Rig:
    def __init__(self):
        self.pool, self.minutes, self.policies, self.hooks = Pool(), Closing(), Closing(), Hooks()
        parts = (self.pool, self.minutes, self.policies, self.hooks)
        self.simulator = Simulator(dict(app.scenarios), *parts)


@pytest.fixture
def rig():
    return Rig()


def _with(**changes):
    return msgspec.structs.replace(REQUEST, **changes)


async def test_an_unknown_scenario_is_answered_with_those_there_are(rig):
    """The requester mistyped it, or sends to another installation."""
    with pytest.raises(UnknownScenario, match="no scenario 'other'; there are: "):
        await rig.simulator.prepare(_with(scenario="other"))
    assert rig.simulator.queue("other") == QueuePolicy()
    assert rig.simulator.queue("monte_carlo") is app.scenarios["monte_carlo"].queue


async def test_a_cancellation_without_a_key_says_which_parameter_it_needs(rig):
    """It would cancel nothing, and its requester would take it for cancelled."""
    with pytest.raises(InvalidParameters, match=r"needs parameters\.idempotency_key"):
        await rig.simulator.prepare(_with(scenario="cancel"))


async def test_a_summary_may_have_the_bounds_size_and_no_more(rig, monkeypatch):
    """It is part of the state while its key lives."""
    rig.pool.answer = msgspec.msgpack.encode(job.SimulationAnswer(summary={"mean": 1.5}))
    size = len(rig.pool.answer)
    monkeypatch.setattr(job, "SUMMARY_MAX_BYTES", size)
    assert await rig.simulator.perform(REQUEST, b"", 1.0) == {"mean": 1.5}
    monkeypatch.setattr(job, "SUMMARY_MAX_BYTES", size - 1)
    with pytest.raises(SimulationFailed, match=f"has {size} bytes, at most {size - 1}"):
        await rig.simulator.perform(REQUEST, b"", 1.0)


@pytest.mark.parametrize(
    ("code", "raised"),
    [("invalid_parameters", InvalidParameters), ("something_else", SimulationFailed)],
)
async def test_an_error_of_a_process_keeps_its_kind_and_words(rig, code, raised):
    """Invalid parameters are the requester's; any other error may pass on another attempt."""
    rig.pool.answer = msgspec.msgpack.encode(job.SimulationAnswer(code=code, message="as it says"))
    with pytest.raises(raised, match="as it says"):
        await rig.simulator.perform(REQUEST, b"", 1.0)


async def test_a_request_runs_with_its_own_seed_or_always_the_same(rig):
    """A request that runs again after a crash must give the same summary."""

    async def seed(**changes):
        return msgspec.msgpack.decode(await rig.simulator.prepare(_with(**changes)))["seed"]

    assert await seed(seed=7) == 7
    assert await seed(seed=-1) == (1 << 64) - 1
    assert await seed() == await seed()
    assert await seed() != await seed(idempotency_key="other")


async def test_two_jobs_are_started_for_each_process(rig):
    """One runs and one waits: no process idles while the worker commits."""
    assert rig.simulator.slots == 6


async def test_every_part_ends_with_the_simulator(rig):
    """Connections and threads of a worker that drains must not keep its process alive."""
    await rig.simulator.close()
    assert all(part.closed for part in (rig.pool, rig.minutes, rig.policies, rig.hooks))


def test_an_outcome_of_an_unknown_scenario_calls_no_hook(rig):
    """Its request was refused, and the next outcome must still be told."""
    outcome = Outcome("failed", {}, "unknown_scenario", "no", 0, 0)
    rig.simulator.finished(_with(scenario="other"), outcome)
    assert rig.hooks.called == []


@pytest.mark.parametrize(
    ("chosen", "fewest", "size"), [(5, 0, 5), (5, 2, 2), (2, 4, 2), (0, 0, os.cpu_count() or 1)]
)
async def test_the_pool_has_as_many_processes_as_chosen_or_as_processors(chosen, fewest, size):
    """0 means: this machine's."""
    resources = Resources(
        settings=Settings(pool_processes=chosen, pool_processes_min=fewest),
        clock=VirtualClock(),
        metrics=Metrics(),
        layer=None,
    )
    simulator = Simulator.of(app.scenarios, resources)
    assert simulator.slots == 2 * size
    await simulator.close()
