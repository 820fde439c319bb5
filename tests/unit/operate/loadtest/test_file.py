"""The file of a load test: what it may say, and which error each other form gets."""

from __future__ import annotations

import tomllib

import pytest

from streams.core.errors import UsageError
from streams.operate.loadtest.file import EXAMPLE, parsed, read_file

GOOD = """
name = "small"
duration = "10s"
ramp = "2s"
[[flow]]
name = "metrics"
post = "model.metrics"
rate = 5
batch = 10
event = { tenant_id = "acme" }
[flow.thresholds]
p95_ms = 500
events_per_s = 40
[[flow]]
name = "search"
users = 20
pause = "4s"
get = [{ path = "/api/models", query = { tenant = "acme" } }]
"""


def _parsed(*replaced):
    text = GOOD
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new, 1)
    return parsed(tomllib.loads(text), "small.toml")


def test_users_that_pause_are_a_rate():
    """An open loop sends what so many people would send, however slow the answers are."""
    assert [flow.rate_per_s for flow in _parsed().flow] == [5, 5]


def test_a_scale_changes_rates_and_their_targets_and_nothing_else():
    """The load of a large platform is tried at a fiftieth on a small machine: its latencies stay."""
    test = _parsed(('ramp = "2s"', 'ramp = "2s"\nscale = 0.5'))
    assert [flow.rate_per_s for flow in test.flow] == [2.5, 2.5]
    bounds = test.flow[0].thresholds
    assert (bounds.events_per_s, bounds.p95_ms, bounds.p99_ms) == (20, 500, None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("duration =", "duraton =", "Did you mean `duration`"),
        ("p95_ms", "p95_mss", "Did you mean `p95_ms`"),
        ("rate = 5", "rates = 5", "Did you mean `rate`"),
        ("path =", "paths =", "Did you mean `path`"),
        ("batch = 10", "colour = 10", "It takes name, post, get"),
        ('"10s"', '"10 sec"', "Invalid duration"),
        ('"2s"', '"11s"', "ramp is at most duration"),
        ("rate = 5", "rate = 5\nusers = 5", "either rate or users"),
        ("rate = 5", "", "either rate or users"),
        ("rate = 5", "rate = nan", "above 0"),
        ("rate = 5", "rate = 0.001", "requests; 1 to"),
        ("p95_ms = 500", "p95_ms = -1", "thresholds.p95_ms is 0 or more"),
        ("p95_ms = 500", "failures = 5", "thresholds.failures is a share, 1 at most"),
        ("p95_ms = 500", 'p95_ms = "fast"', "Expected `float"),
        ('post = "model.metrics"', "", "either post or get"),
        ('event = { tenant_id = "acme" }', "", "event belongs to post"),
        ('"/api/models"', '"api/models"', "a path begins with /"),
        ('name = "search"', 'name = "metrics"', "two flows have one name"),
        ('name = "search"', 'name = "probes"', "and not probes"),
        ('ramp = "2s"', "scale = 0", "scale is above 0"),
        ('ramp = "2s"', "thresholds = { freshness_p95_s = 5 }", "needs [freshness]"),
        ("batch = 10", "batch = 100000", "batch is 1 to"),
        ('ramp = "2s"', 'timeout = "1h"', "timeout is at most 600s"),
    ],
)
def test_a_file_with_a_mistake_names_it(old, new, said):
    """A threshold with a misspelt name would never fail."""
    with pytest.raises(UsageError) as raised:
        _parsed((old, new))
    assert said in str(raised.value)


def test_exact_of_a_test_without_events_is_refused():
    """There would be nothing to compare, and the threshold would always fail."""
    search = {"name": "search", "rate": 5, "get": [{"path": "/x"}]}
    content = {"name": "n", "duration": "9s", "flow": [search], "thresholds": {"exact": True}}
    with pytest.raises(UsageError, match="exact needs a flow with post"):
        parsed(content, "f")


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path):
    """Exit code 2, and not a traceback."""
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    for path in (tmp_path / "absent.toml", broken, tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_file(path)


def test_the_example_is_a_load_test_of_the_built_in_app():
    """`dia loadtest example` is what people begin with."""
    test = read_file(EXAMPLE, {"duration": "2m"})
    metrics = test.flow[0]
    assert test.duration_s == 120
    assert metrics.rate_per_s * metrics.batch == pytest.approx(3000)
    assert metrics.thresholds.p99_ms == 100
