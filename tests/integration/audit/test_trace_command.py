"""`dia trace` on real services: an event, its repeat, a dead letter, and the searched range."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


def traced(dia: Any, *args: str) -> tuple[int, dict[str, Any], str]:
    code, out, err = dia("trace", "--json", *args)
    return code, json.loads(out), err


def rows(dia: Any, *args: str) -> list[dict[str, Any]]:
    code, out, _ = dia(*args, "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_each_verdict_equals_the_ledgers(pipeline: Any, dia: Any) -> None:
    """Records are traced by offset; a search by id then finds the same record."""
    verdicts: Counter[str] = Counter()
    by_id: dict[str, dict[str, Any]] = {}
    for offset in range(8):
        code, report, _ = traced(dia, f"model.metrics/0/{offset}")
        if not report["records"]:
            assert code == 6  # a transaction marker
            continue
        [one] = [r for r in report["records"] if r["place"] == f"model.metrics/0/{offset}"]
        verdicts[one["verdict"]] += 1
        assert one["doubts"] == []
        assert report["whole"]
        if one["verdict"] == "counted":
            by_id[json.loads(one["value"])["event_id"]] = one
    assert verdicts["counted"] > 3
    assert set(verdicts) <= {"counted", "duplicate", "dead letter"}
    name, expected = next((name, one) for name, one in by_id.items() if name)
    code, report, _ = traced(dia, name, "--topic", "model.metrics")
    [found] = [one for one in report["records"] if one["place"] == expected["place"]]
    assert (code, found["verdict"]) == (0, "counted")
    [window] = found["windows"]
    assert window["stored"] is True
    assert window["rows"][0]["count"] >= 1
    assert [step["what"] for step in found["timeline"]][-1] == "row"


def test_a_dead_letter_is_traced_by_its_id(pipeline: Any, dia: Any) -> None:
    """The record and its dead letter are shown together."""
    letter = rows(dia, "dlq", "list", "--limit", "1")[0]
    code, report, _ = traced(dia, letter["id"])
    [one] = report["records"]
    assert (code, one["verdict"], one["code"]) == (0, "dead letter", letter["error"])
    assert one["dead_letters"][0]["id"] == letter["id"]


def test_an_unknown_id_reports_the_searched_offsets(pipeline: Any, dia: Any) -> None:
    """Exit code 6, and the searched offsets of every source."""
    code, report, err = traced(dia, "no-such-event")
    assert code == 6
    assert "no proof that it never was" in err
    ends = sum(one["to"] for one in report["searched"] if one["topic"] == "model.metrics")
    assert ends >= pipeline.oracle.produced
    assert report["whole"]
