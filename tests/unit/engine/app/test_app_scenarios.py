"""`app.scenario`: scenarios that an app declares, and how a pool process finds them."""

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
    """The scenario has the function's name, and a pool process finds it in the function's module."""
    assert app.scenarios == {"churn": churn}
    assert scenario_in(__name__, "churn") is churn
    app.check()


def test_two_scenarios_of_one_name_are_refused():
    """Requests select scenarios by name."""
    with pytest.raises(UsageError, match="two scenarios named 'churn'"):
        app.add_scenario(churn)
    assert app.scenarios == {"churn": churn}


def test_a_scenario_that_a_pool_process_cannot_find_is_refused_at_the_start():
    """Otherwise each request fails in the pool, long after the mistake."""
    other = App("acme")

    @other.scenario(Churn)
    def hidden(run):
        return {}

    with pytest.raises(UsageError, match="finds no scenario of that name there"):
        other.check()


def test_a_job_of_a_module_without_the_scenario_is_refused_by_its_code():
    """A deploy under a running worker may remove a scenario from its module."""
    gone = msgspec.structs.replace(job._decode_job(asked(churn)), scenario="gone")
    answer = job.decode_answer(job.run(job.encode_job(gone)))
    assert (answer.code, "gone" in answer.message) == ("unknown_scenario", True)


async def test_the_guide_s_scenario_runs_in_a_process_of_the_pool(tmp_path, monkeypatch):
    """One file is enough: the scenario needs no installed distribution."""
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "from agents.app import app" in block
    # A separate app: the built-in app would keep the scenario for later tests.
    own = block.replace("from agents.app import app", "from streams import App").replace(
        "@app.scenario", 'app = App("acme")\n\n\n@app.scenario'
    )
    (tmp_path / "acme_churn.py").write_text(own)
    monkeypatch.chdir(tmp_path)  # > `dia worker --app` and its pool processes import from here
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
