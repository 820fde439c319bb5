"""Events from a template."""

from __future__ import annotations

import random

import msgspec
import pytest

from agents.app import app
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import UsageError
from streams.engine.decode.codecs import Limits, checked
from streams.operate.loadtest.event_template import EventTemplate, Placeholders
from streams.operate.loadtest.file import EXAMPLE, read_file


def _made(event, clock=None):
    places = Placeholders("run-1", random.Random(3), clock or VirtualClock(5000))
    return EventTemplate(event, places, "flow f: event").make()


def test_a_text_of_one_placeholder_becomes_its_value():
    """A number in quotes would be refused by the edge."""
    made = _made(
        {"ts": "{now_ms}", "value": "{uniform:1:2}", "n": 7, "deep": {"of": ["{number:1}"]}}
    )
    value = msgspec.json.decode(made.value)
    assert 1 <= value.pop("value") <= 2
    assert value == {"ts": 5000, "n": 7, "deep": {"of": [0]}}
    assert made.series is None


def test_placeholders_inside_a_text_are_written_into_it():
    """Names of tenants have a prefix. An event that names its series says which one."""
    made = _made({"tenant_id": "t-{zipf:3}", "model_id": "load-{run}", "metric": "{one:a|b}"})
    tenant, model, metric = made.series
    assert (tenant in {"t-0", "t-1", "t-2"}, model, metric in {"a", "b"}) == (
        True,
        "load-run-1",
        True,
    )
    value = {"tenant_id": tenant, "model_id": model, "metric": metric}
    assert msgspec.json.decode(made.value) == value


def test_ids_differ():
    """Two events with one id would count once."""
    places = Placeholders("run", random.Random(3), VirtualClock())
    template = EventTemplate({"event_id": "{id}"}, places, "event")
    assert len({template.make().value for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{nubmer:3}", "no placeholder {nubmer}"),
        ("{number}", "does not fit"),
        ("{zipf:0}", "does not fit"),
        ("{uniform:1}", "does not fit"),
        ("{one:a||b}", "does not fit"),
        ("{lognormal:nan:1}", "does not fit"),
    ],
)
def test_an_unfit_placeholder_is_named(text, said):
    """Else each event of the test would be refused by the edge."""
    with pytest.raises(UsageError, match=r"flow f: event\.x") as raised:
        _made({"x": text})
    assert said in str(raised.value)


def test_events_of_the_example_are_valid():
    """The edge refuses an invalid event, so the example would measure refusals."""
    for flow in read_file(EXAMPLE).flow:
        if flow.post:
            value = _made(flow.event, SystemClock()).value
            limits = Limits(future_max_s=300, late_max_s=604_800)
            now_ms = SystemClock().now_ms()
            decoded, _ = checked(app.topology.topic(flow.post), [value], now_ms, limits, 1)
            assert not decoded.bad, flow.name
