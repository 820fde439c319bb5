"""`dia topics list`, `describe`, `tail` and `search` on real services."""

from __future__ import annotations

import json
from typing import Any


def rows(dia: Any, *args: str, code: int = 0) -> list[dict[str, Any]]:
    ended, out, err = dia("topics", *args)
    assert ended == code, err
    return [json.loads(line) for line in out.splitlines()]


def test_topics_show_the_brokers_offsets_settings_and_lag(pipeline: Any, dia: Any) -> None:
    listed = {row["topic"]: row for row in rows(dia, "list", "-o", "json")}
    metrics = listed["model.metrics"]
    assert (metrics["kind"], metrics["partitions"]) == ("source", 4)
    assert metrics["offsets"] >= pipeline.oracle.produced
    assert metrics["groups"] == "dia-group"
    [described] = rows(dia, "describe", "model.metrics", "--json")
    assert [one["partition"] for one in described["partitions"]] == [0, 1, 2, 3]
    for one in described["partitions"]:
        assert one["leader"] in one["in_sync"]
        assert one["groups"][0]["lag"] == 0
    assert (
        sum(one["stable_end"] - one["begin"] for one in described["partitions"])
        == metrics["offsets"]
    )


def test_messages_are_found_newest_first_and_by_field(pipeline: Any, dia: Any) -> None:
    """The same messages by their bytes and by a field, and dead letters by their code."""
    newest = rows(dia, "tail", "model.metrics", "--no-follow", "-n", "5", "--json")
    assert len(newest) == 5
    times = [one["at_ms"] for one in newest]
    assert times == sorted(times, reverse=True)
    name = next(one["value"]["event_id"] for one in newest if isinstance(one["value"], dict))
    found = rows(dia, "search", "model.metrics", "--contains", name, "--json")
    assert {one["value"]["event_id"] for one in found} == {name}
    by_field = rows(dia, "search", "model.metrics", "--where", f"event_id == {name}", "--json")
    assert by_field == found
    letters = rows(dia, "tail", "model.metrics.dlq", "--no-follow", "-n", "1", "-o", "json")
    code = dict(letters[0]["headers"])["dia.dlq.error_code"]
    coded = rows(dia, "search", "model.metrics.dlq", "--code", code, "--limit", "3", "--json")
    assert coded
    rows(dia, "search", "model.metrics", "--contains", "no-such-event", code=6)
