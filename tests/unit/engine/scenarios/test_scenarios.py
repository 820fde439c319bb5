"""Scenarios: known results, the same result for the same seed, and messages for invalid requests."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from agents.app import app
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios.distribution import Exponential, Normal, phi
from streams.engine.scenarios.history import History
from streams.engine.scenarios.job import SimulationJob, decode_answer, encode_job, run
from streams.engine.scenarios.parameters import GENERATED, document
from streams.engine.windows.minutes import sketch_code

NORMAL = {"kind": "normal", "mean": 10.0, "sd": 2.0}


def answer(scenario, parameters, trials=50_000, seed=1, history=None):
    job = SimulationJob(
        module=app.scenarios[scenario].module,
        scenario=scenario,
        parameters=parameters,
        trials=trials,
        seed=seed,
        history=history,
    )
    return decode_answer(run(encode_job(job)))


def summary(*args, **kwargs):
    found = answer(*args, **kwargs)
    assert found.code == "", found.message
    return found.summary


def monte_carlo(**changes):
    return {"variables": {"x": NORMAL}, "outcome": "x", **changes}


@pytest.mark.parametrize("built_in", app.scenarios.values(), ids=lambda scenario: scenario.name)
def test_the_published_schema_equals_the_one_in_code(built_in):
    """Clients build requests from the published file."""
    published = json.loads((GENERATED / f"{built_in.name}.json").read_text())
    assert published == json.loads(json.dumps(document(built_in)))


def test_a_sum_of_normals_is_normal():
    """Mean, deviation, quantiles and the exceedance probability are known in closed form."""
    asked = monte_carlo(
        variables={"x": NORMAL, "y": {"kind": "normal", "mean": -4.0, "sd": 1.5}},
        outcome="x + y",
        bounds=[6.0, 8.5],
    )
    found = summary("monte_carlo", asked, trials=400_000)
    assert found["mean"] == pytest.approx(6.0, abs=0.02)
    assert found["sd"] == pytest.approx(2.5, rel=0.01)
    assert found["mean_low"] < 6.0 < found["mean_high"]
    median = found["quantiles"][2]
    assert median["low"] <= median["value"] <= median["high"]
    assert median["value"] == pytest.approx(6.0, abs=0.03)
    above = [bound["probability"] for bound in found["exceedance"]]
    assert above == pytest.approx([0.5, 0.158655], abs=0.004)


def test_correlated_normals_have_the_given_correlation():
    """The variance of a difference shrinks by twice the covariance: 1 + 1 - 2 * 0.8."""
    asked = monte_carlo(
        variables={name: {"kind": "normal", "mean": 0.0, "sd": 1.0} for name in "ab"},
        outcome="a - b",
        correlation={"variables": ["a", "b"], "matrix": [[1, 0.8], [0.8, 1]]},
    )
    assert summary("monte_carlo", asked, trials=200_000)["sd"] == pytest.approx(
        math.sqrt(0.4), rel=0.01
    )


@pytest.mark.parametrize(
    ("variable", "mean", "sd"),
    [
        ({"kind": "lognormal", "mu": 0.0, "sigma": 0.5}, math.exp(0.125), 0.6039),
        ({"kind": "uniform", "low": 2.0, "high": 8.0}, 5.0, math.sqrt(3)),
        ({"kind": "triangular", "low": 0.0, "mode": 2.0, "high": 4.0}, 2.0, math.sqrt(2 / 3)),
        ({"kind": "exponential", "mean": 3.0}, 3.0, 3.0),
        ({"kind": "weibull", "shape": 2.0, "scale": 1.0}, math.sqrt(math.pi) / 2, 0.46325),
        ({"kind": "bernoulli", "p": 0.3}, 0.3, math.sqrt(0.21)),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("correlated", [False, True])
def test_a_distribution_keeps_its_moments_alone_and_correlated(variable, mean, sd, correlated):
    """Draws by numpy and draws through the copula have the same distribution."""
    asked = monte_carlo(variables={"v": variable, "w": NORMAL}, outcome="v")
    if correlated:
        asked["correlation"] = {"variables": ["w", "v"], "matrix": [[1, 0.5], [0.5, 1]]}
    found = summary("monte_carlo", asked, trials=200_000)
    assert found["mean"] == pytest.approx(mean, rel=0.02)
    assert found["sd"] == pytest.approx(sd, rel=0.03)


def test_the_normal_distribution_function_is_accurate_enough():
    """Copula draws inherit its error; the approximation promises 1.5e-7."""
    z = np.linspace(-5, 5, 101)
    exact = [0.5 * math.erfc(-value / math.sqrt(2)) for value in z]
    assert np.abs(phi(z) - exact).max() < 2e-7


def test_correlated_values_rise_with_their_normal():
    """Otherwise a positive correlation would come out negative."""
    z = np.linspace(-3, 3, 50)
    for distribution in (Normal(mean=1, sd=2), Exponential(mean=2)):
        assert np.all(np.diff(distribution.of_normal(z.copy())) > 0)


@pytest.mark.parametrize("scenario", ["monte_carlo", "policy_threshold"])
def test_the_same_seed_gives_the_same_summary(scenario):
    """A request that runs again after a crash must give the same result."""
    asked = {"monte_carlo": monte_carlo(), "policy_threshold": THRESHOLD}[scenario]
    assert answer(scenario, asked, seed=5) == answer(scenario, asked, seed=5)
    assert answer(scenario, asked, seed=5) != answer(scenario, asked, seed=6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "y"}, "'y' is not a variable"),
        ({"outcome": "x +"}, "cannot be read"),
        ({"outcome": "1 / (x - x)"}, "not a finite number"),
        ({"outcome": "exp(x * 40)"}, "variance"),
        ({"variables": {}}, "variables"),
        ({"variables": {"x": {"kind": "normal", "mean": 0, "sd": 0}}}, "sd"),
        ({"variables": {"x": {"kind": "uniform", "low": 2, "high": 1}}}, "low must be below"),
        ({"correlation": {"variables": ["x", "x"], "matrix": [[1, 0], [0, 1]]}}, "each once"),
    ],
)
def test_an_invalid_request_is_answered_with_the_reason(changes, message):
    """The client reads the message in the result: it names the field and the rule."""
    found = answer("monte_carlo", monte_carlo(**changes), trials=100)
    assert found.code == "invalid_parameters"
    assert message in found.message


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2], [2, 1]], "<= 1.0"),
        ([[1, 0.5], [0.4, 1]], "symmetric"),
        ([[1, 0.5]], "2 rows"),
        ([[1, 1], [1, 1]], "positive definite"),
    ],
)
def test_an_invalid_correlation_matrix_is_refused(matrix, message):
    """Drawing from it would give another correlation without an error."""
    asked = monte_carlo(variables={"x": NORMAL, "y": NORMAL})
    asked["correlation"] = {"variables": ["x", "y"], "matrix": matrix}
    assert message in answer("monte_carlo", asked, trials=100).message


def test_a_distribution_without_a_closed_inverse_cannot_be_correlated():
    """A draw without the requested correlation would be wrong."""
    asked = monte_carlo(variables={"x": NORMAL, "y": {"kind": "beta", "a": 2, "b": 2}})
    asked["correlation"] = {"variables": ["x", "y"], "matrix": [[1, 0], [0, 1]]}
    assert "beta variable cannot be correlated" in answer("monte_carlo", asked).message


THRESHOLD = {
    "score": {"kind": "uniform", "low": 0.0, "high": 1.0},
    "threshold": 0.6,
    "risk": {"midpoint": 0.5, "steepness": 1e6},
    "reward": 10.0,
    "loss": 40.0,
}


def test_a_sharp_risk_makes_a_threshold_countable_by_hand():
    """All cases below 0.5 are bad and all above it good: at 0.6, 40 % are approved and all are
    good.
    """
    found = summary("policy_threshold", THRESHOLD, trials=100_000)
    assert found["approval_rate"]["probability"] == pytest.approx(0.4, abs=0.01)
    assert found["reward"]["mean"] == pytest.approx(4.0, abs=0.1)
    assert found["loss"]["mean"] == 0.0
    low = summary("policy_threshold", {**THRESHOLD, "threshold": 0.3}, trials=100_000)
    assert low["net"]["mean"] == pytest.approx(0.5 * 10 - 0.2 * 40, abs=0.2)
    assert low["best"]["threshold"] == pytest.approx(0.5, abs=0.05)


def test_the_curve_agrees_with_a_run_at_its_thresholds():
    """Each point equals the result of a run with that threshold."""
    asked = {**THRESHOLD, "risk": {"midpoint": 0.4, "steepness": 8.0}}
    for point in summary("policy_threshold", asked, trials=20_000)["curve"][::5]:
        again = summary(
            "policy_threshold", {**asked, "threshold": point["threshold"]}, trials=20_000
        )
        assert again["net"]["mean"] == pytest.approx(point["net"], rel=1e-9, abs=1e-9)
        assert again["approval_rate"]["probability"] == pytest.approx(point["approval_rate"])


def history(minutes):
    """Minutes of values, in the form of the windows."""
    codes, counts = [], []
    for values in minutes:
        found, number = np.unique(sketch_code.encode(values), return_counts=True)
        codes.append(found.tolist())
        counts.append(number.tolist())
    return History(
        start_s=[60 * i for i in range(len(minutes))],
        counts_n=[len(values) for values in minutes],
        sums=[float(np.sum(values)) for values in minutes],
        codes=codes,
        counts=counts,
    )


def test_a_replay_sums_up_both_worlds():
    """Means are exact, quantiles within the sketch's 1 %, shares counted by value."""
    values = np.random.default_rng(3).lognormal(1, 0.5, (30, 200))
    asked = {"metric": "latency", "minutes": 30, "scale": 0.5, "shift": 1.0, "bound": 3.0}
    found = summary("replay_metrics", asked, trials=500, history=history(list(values)))
    moved = 0.5 * values + 1.0
    for world, truth in (("before", values), ("after", moved)):
        assert found[world]["count"] == truth.size
        assert found[world]["mean"] == pytest.approx(truth.mean(), rel=1e-9)
        assert found[world]["mean_low"] < truth.mean() < found[world]["mean_high"]
        p95 = found[world]["quantiles"][1]["value"]
        assert p95 == pytest.approx(np.quantile(truth, 0.95, method="inverted_cdf"), rel=0.011)
        assert found[world]["above"]["share"] == pytest.approx((truth > 3.0).mean(), abs=0.02)


def test_a_replay_of_no_values_is_an_error():
    """An empty result would look like a quiet metric."""
    found = answer("replay_metrics", {"metric": "nobody"}, trials=10, history=history([]))
    assert "no value of metric 'nobody'" in found.message


def test_a_replay_with_a_negative_scale_turns_quantiles_around():
    """The order of values reverses: the median of -v is minus the median of v."""
    values = [np.arange(1.0, 100.0)]
    found = summary("replay_metrics", {"metric": "m", "scale": -1.0}, 10, history=history(values))
    before, after = (found[world]["quantiles"][0]["value"] for world in ("before", "after"))
    assert after == pytest.approx(-before, rel=0.03)


def test_pauses_double_up_to_their_bound_or_stay():
    """1, 2, 4, 8 at most; or a constant."""
    assert [QueuePolicy().pause_s(n) for n in range(1, 6)] == [1, 2, 4, 8, 8]
    assert [QueuePolicy(backoff="fixed", backoff_s=3).pause_s(n) for n in (1, 4)] == [3, 3]


def test_more_trials_than_memory_holds_are_refused():
    """The schema of the topic allows a billion."""
    for name, asked in (("monte_carlo", monte_carlo()), ("policy_threshold", THRESHOLD)):
        assert "takes at most" in answer(name, asked, trials=10**9).message
