"""Thresholds, the report that shows them, and the records that are kept."""

from __future__ import annotations

import re

import msgspec
import pytest

from streams.operate.loadtest.exactness import ExactCheck, ExactnessReport, ledgers
from streams.operate.loadtest.file import parsed
from streams.operate.loadtest.html_report import html_report
from streams.operate.loadtest.record import (
    RECORDS_MAX,
    LoadTestRecord,
    flow_result,
    keep,
    newest,
)
from streams.operate.loadtest.recorder import CODES_MAX, FlowRecord, RequestOutcome, together
from streams.operate.loadtest.verdict import judged

CONTENT = {
    "name": "small",
    "duration": "10s",
    "ramp": "2s",
    "flow": [{"name": "metrics", "post": "t", "event": {"a": 1}, "rate": 10}],
}


def _record(answers):
    """Of (due, latency, outcome) in seconds."""
    record = FlowRecord(10.0)
    for due_s, latency_s, outcome in answers:
        record.add(due_s, latency_s, outcome)
    return record


def _judged(answers, flow, every=None, exactness=None, probes=None):
    content = {**CONTENT, "thresholds": every or {}}
    if probes is not None:
        content["freshness"] = {"topic": "t", "tenants": ["acme"], "wait": "60s"}
    content["flow"] = [{**CONTENT["flow"][0], "thresholds": flow}]
    test, record = parsed(content, "f"), _record(answers)
    whole = together([record], 10.0)
    fresh = None if probes is None else _record(probes)
    return judged(test, {"metrics": record}, whole, fresh, exactness, 10.0)


def test_rates_count_behind_the_ramp():
    """In the ramp less is sent than the target, which is no failure of the pipeline."""
    answers = [(second + 0.5, 0.01, RequestOutcome(events=5)) for second in range(2, 10)]
    requests, events = _judged(answers, {"requests_per_s": 1, "events_per_s": 5.1})
    assert (requests.achieved, requests.held) == (1, True)
    assert (events.achieved, events.held) == (5, False)


def test_failures_are_a_share_of_all_that_was_due():
    """What was never sent or answered failed, too."""
    answers = [(1, 0.01, RequestOutcome())] * 98 + [
        (1, 5.0, RequestOutcome("no_answer", given_up=True)),
        (1, 0.001, RequestOutcome("503")),
    ]
    failures, p99 = sorted(
        _judged(answers, {"failures": 0.02, "p99_ms": 100}), key=lambda one: one.what
    )
    assert (failures.achieved, failures.held) == (0.02, True)
    assert (p99.achieved, p99.held) == (pytest.approx(5000, rel=0.01), False)


@pytest.mark.parametrize(("code", "age_s"), [("broken_off", 0.001), ("timeout", 1.0)])
def test_requests_that_were_given_up_soon_hold_no_latency(code, age_s):
    """A server that breaks each connection at once would else be the fastest one."""
    given_up = [(1, age_s, RequestOutcome(code, given_up=True))]
    answered = [(1, 0.05, RequestOutcome())]
    [p99] = _judged(given_up * 100, {"p99_ms": 2000})
    assert not p99.held
    [p99] = _judged(answered * 98 + given_up * 2, {"p99_ms": 2000})
    assert not p99.held
    [p99] = _judged(answered * 99 + given_up, {"p99_ms": 2000})
    assert p99.held
    assert p99.achieved == pytest.approx(50, rel=0.011)


@pytest.mark.parametrize(
    "unseen", [RequestOutcome("429"), RequestOutcome("not_seen", given_up=True)]
)
def test_a_probe_that_is_never_seen_is_fresh_within_no_bound(unseen):
    """What was refused or lost has no age, and the few probes that came were not all."""
    seen = [(9.5, 0.8, RequestOutcome(events=1))]
    bound = {"freshness_p95_s": 90}
    assert not _judged([], {}, bound, probes=[(1, 60.2, unseen)] * 6 + seen * 94)[0].held
    assert _judged([], {}, bound, probes=[(1, 60.2, unseen)] * 5 + seen * 95)[0].held


def test_what_is_answered_behind_the_test_is_none_of_its_rate():
    """A server of half the rate answers the other half while the test drains: it did not hold it."""
    half = [(at / 10, at / 10, RequestOutcome(events=2)) for at in range(100)]
    bounds = {"requests_per_s": 9, "events_per_s": 18}
    requests, events = _judged(half, bounds)
    assert (requests.achieved, events.achieved) == (5, 10)
    assert not requests.held
    assert not events.held


def test_what_was_not_measured_holds_no_threshold():
    """A flow that sent nothing would else be the fastest one."""
    assert not any(
        one.held for one in _judged([], {"p95_ms": 500, "failures": 1, "events_per_s": 1})
    )
    assert not _judged([], {}, {"exact": True})[0].held
    assert not _judged([], {}, {"exact": True}, ExactnessReport())[0].held


def test_many_codes_of_failures_take_bounded_memory():
    """A server that makes a code of each answer must not fill the memory of the recorder."""
    record = _record([(1, 0.1, RequestOutcome(f"code-{number}")) for number in range(100)])
    assert (len(record.codes), record.codes.total()) == (CODES_MAX + 1, 100)


def test_a_ledger_that_is_not_known_is_none():
    """Unknown counts are no zeros."""
    assert ledgers(None) is None
    assert ledgers({"ledger_known": False, "partitions": []}) is None


def made_record(run, exactness=None):
    record = _record([(2.5, 0.2, RequestOutcome(events=1)), (3.5, 0.3, RequestOutcome("<script>"))])
    return LoadTestRecord(
        run=run,
        name="small",
        began_ms=0,
        duration_s=10,
        ramp_s=2,
        sent_s=10,
        edge="http://127.0.0.1:1",
        console="http://127.0.0.1:2",
        interrupted=False,
        sender_late_s=0.5,
        flows=[flow_result("metrics", "as <b>stated</b>", record)],
        freshness=None,
        exactness=exactness,
        thresholds=_judged([(1, 0.2, RequestOutcome())], {"p95_ms": 100, "p99_ms": 1000}),
    )


def test_a_report_shows_target_and_achieved_and_loads_nothing():
    """It is mailed, and opened without a network. Texts of the file and of answers are no markup."""
    check = ExactCheck(what="t: applied", least=3, most=4, found=None)
    page = html_report(made_record("1", ExactnessReport(checks=[check], notes=["a note"])))
    assert "1 of 2 thresholds failed" in page
    assert re.search(r'<tr class="failed">.*≤ 100 ms.*200 ms', page)
    assert "&lt;b&gt;stated" in page
    assert "&lt;script&gt;: 1" in page
    assert "<script" not in page
    assert "up to 0.50 s late" in page
    assert "3 to 4" in page
    assert "unknown" in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert page.count("<svg") == page.count("</svg>") == 2


def test_the_newest_records_are_kept_and_a_broken_one_is_passed_over(tmp_path):
    """A folder of a machine that tests each night stays small."""
    for number in range(RECORDS_MAX + 2):
        keep(tmp_path, made_record(f"run-{number:03d}"), "<p>")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 * RECORDS_MAX
    assert names[0] == "run-002.html"
    (tmp_path / "run-999.json").write_text("{")
    found = newest(tmp_path)
    assert found.run == f"run-{RECORDS_MAX + 1:03d}"
    assert msgspec.json.decode(msgspec.json.encode(found), type=LoadTestRecord) == found
    assert newest(tmp_path / "absent") is None
