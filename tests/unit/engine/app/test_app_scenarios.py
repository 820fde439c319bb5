"""`app.scenario`: what simulations of an app may ask for, and how a process of the pool finds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest

from streams import App, Run, Scenario
from streams.core.clock import SystemClock
from streams.core.errors import UsageError
from streams.engine.app.loading import load_app
from streams.engine.pool.processes import ProcessPool
from streams.engine.scenarios import job
from streams.engine.scenarios.scenario import scenario_in

GUIDE = Path(__file__).parents[4] / "docs" / "simulations.md"
PATIENT_S = 60.0


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    rate: float


app = App("acme")


@app.scenario(Churn)
def churn(run: Run[Churn]) -> dict[str, object]:
    return {"lost": int((run.rng.random(run.trials) < run.parameters.rate).sum())}


def asked(scenario: Scenario) -> bytes:
    return job.encode_job(
        job.SimulationJob(
            module=scenario.module,
            scenario=scenario.name,
            parameters={"rate": 1.0},
            trials=5,
            seed=1,
        )
    )


def test_a_decorated_function_is_a_scenario_of_the_app():
    """The function's name is the scenario's, and the module holds it where a pool process looks."""
    assert app.scenarios == {"churn": churn}
    assert scenario_in(__name__, "churn") is churn
    app.check()


def test_two_scenarios_of_one_name_are_refused():
    """Requests name scenarios: a name must not mean two things."""
    with pytest.raises(UsageError, match="two scenarios named 'churn'"):
        app.add_scenario(churn)
    assert app.scenarios == {"churn": churn}


def test_a_scenario_that_a_pool_process_would_not_find_is_refused_at_the_start():
    """Each request for it would fail in the pool, long after the mistake."""
    other = App("acme")

    @other.scenario(Churn)
    def hidden(run):
        return {}

    with pytest.raises(UsageError, match="finds no scenario of that name there"):
        other.check()


def test_a_job_of_a_module_without_the_scenario_is_refused_by_its_code():
    """A deploy under a running worker may take a scenario out of its module."""
    gone = msgspec.structs.replace(job._decode_job(asked(churn)), scenario="gone")
    answer = job.decode_answer(job.run(job.encode_job(gone)))
    assert (answer.code, "gone" in answer.message) == ("unknown_scenario", True)


async def test_the_guide_s_scenario_runs_in_a_process_of_the_pool(tmp_path, monkeypatch):
    """One file is enough: no distribution has to be built and installed for it."""
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "from agents.app import app" in block
    # An app of its own: a scenario of the built-in one would stay for the tests that follow.
    own = block.replace("from agents.app import app", "from streams import App").replace(
        "@app.scenario", 'app = App("acme")\n\n\n@app.scenario'
    )
    (tmp_path / "acme_churn.py").write_text(own)
    monkeypatch.chdir(tmp_path)  # where `dia worker --app` and its pool processes look
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        scenario = load_app("acme_churn:app").scenarios["churn"]
        pool = ProcessPool(
            job.ENTRY, size=1, recycle_jobs=10, memory_bytes=1 << 30, clock=SystemClock()
        )
        try:
            raw = await pool.run(asked(scenario), PATIENT_S)
        finally:
            await pool.close()
    finally:
        sys.modules.pop("acme_churn", None)
    assert job.decode_answer(raw).summary == {"trials": 5, "lost": 5}
