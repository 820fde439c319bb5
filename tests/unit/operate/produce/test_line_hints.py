"""Hints about lines that a person wrote."""

from __future__ import annotations

import json

import pytest

from agents.app import app
from streams.engine.decode.codecs import Limits, outgoing
from streams.operate.produce.line_hints import LOOKED_AT_MAX, LineHints

[TOPIC] = [topic for topic in app.topology.topics if topic.name == "model.metrics"]
NOW_MS = 1_795_910_460_000
GOOD = {"tenant_id": "t", "model_id": "m", "metric": "auc", "ts": NOW_MS, "value": 1.5}


def line(without="", **changes):
    return json.dumps({k: v for k, v in {**GOOD, **changes}.items() if k != without}).encode()


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (line(ts="2026-11-29T00:01:00Z"), "Write it as milliseconds since 1970: 1795910460000."),
        (line(ts="2026-11-29T00:01"), "Write it as milliseconds since 1970: 1795910460000."),
        (line(without="tenant_id", tenantId="t"), 'The line has "tenantId": rename it.'),
        (line(without="value"), ""),
        (line(ts=NOW_MS // 1000), "looks like seconds: write milliseconds, 1795910460000"),
        (line(ts=NOW_MS * 1000), "looks like microseconds: write milliseconds, 1795910460000"),
        (line(ts=NOW_MS * 10**6), "looks like nanoseconds: write milliseconds, 1795910460000"),
    ],
)
def test_a_refused_line_says_how_it_is_meant(raw, hint):
    """Each of these costs a newcomer a search otherwise."""
    judged, _, _ = outgoing(TOPIC, [raw], NOW_MS, Limits(300, 604_800))
    [bad] = judged.bad
    said = bad.message + LineHints(TOPIC, 1).of_refused(raw, bad)
    assert said.endswith(hint) if hint else said == bad.message


def test_an_unknown_field_is_named_once():
    """msgspec passes over it, so the value was lost without a word."""
    hints = LineHints(TOPIC, 1)
    lines = [line(runId="r"), line(runId="r", zzz=1), line()]
    assert sorted(hints.of_unknown(lines)) == [
        'the event type has no field "runId": agents do not see it. Did you mean run_id?',
        'the event type has no field "zzz": agents do not see it.',
    ]
    assert list(hints.of_unknown(lines)) == []


def test_only_the_first_lines_are_searched():
    """A file of a million lines keeps its rate."""
    hints = LineHints(TOPIC, 1)
    assert list(hints.of_unknown([line()] * LOOKED_AT_MAX)) == []
    assert list(hints.of_unknown([line(zzz=1)])) == []


@pytest.mark.parametrize("raw", [b"", b"[1]", b"\xff", b"[" * 5000, b"nonsense"])
def test_lines_that_are_no_object_get_no_hint(raw):
    """Hints never fail where the check of the line does not."""
    judged, _, _ = outgoing(TOPIC, [raw], NOW_MS, Limits(300, 604_800))
    hints = LineHints(TOPIC, 1)
    assert [hints.of_refused(raw, bad) for bad in judged.bad] == [""]
    assert list(hints.of_unknown([raw])) == []
