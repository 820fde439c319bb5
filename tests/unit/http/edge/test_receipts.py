"""What the answer of an edge says of a large body, and where a request is too large."""

from __future__ import annotations

METRICS = "/v1/events/model.metrics"
LINES = {"Content-Type": "application/x-ndjson"}


async def test_ten_thousand_events_are_judged_and_one_more_is_refused(http):
    """The bound that the API's description gives: a client of another language counts on it."""
    answer = await http.post(METRICS, content=b"\n".join([b"{"] * 10_001), headers=LINES)
    assert answer.status_code == 413
    assert "at most 10000 events" in answer.json()["detail"]
    answer = await http.post(METRICS, content=b"\n".join([b"{"] * 10_000), headers=LINES)
    assert answer.status_code == 422


async def test_a_thousand_bad_events_are_named_and_the_rest_is_not_judged(http):
    """An answer is bounded, and says what to send again."""
    answer = await http.post(METRICS, content=b"\n".join([b"{"] * 2500), headers=LINES)
    said = answer.json()
    assert len(said["rejected"]) == 1000
    assert said["not_judged"] == 2500 - said["rejected_total"]
    assert said["rejected_total"] >= 1000


async def test_an_answer_without_bad_events_counts_none(http, line):
    """A client that adds the totals of its answers would report losses."""
    said = (await http.post(METRICS, content=line(), headers=LINES)).json()
    assert (said["rejected"], said["rejected_total"], said["not_judged"]) == ([], 0, 0)
