"""`dia audit` on real services: no difference on correct data, and the exact place of a wrong row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.app import MODEL_METRICS

COPY = "INSERT INTO m1_local SELECT * REPLACE ({change}) FROM m1_local FINAL WHERE "


def audited(dia: Any, *args: str) -> tuple[int, dict[str, Any], str]:
    code, out, err = dia("audit", "--wait", "0", "--json", *args)
    return code, json.loads(out), err


def victim(pipeline: Any) -> dict[str, Any]:
    """A window with several events, and its key."""
    columns = "tenant, model, metric, toUnixTimestamp(w), part, n, s1"
    best = max(pipeline.ask(f"SELECT {columns} FROM m1_local FINAL"), key=lambda row: row[5])
    names = ("tenant", "model", "metric", "w", "part", "n", "s1")
    return dict(zip(names, best, strict=True))


def where(window: dict[str, Any]) -> str:
    return (
        f"tenant = '{window['tenant']}' AND model = '{window['model']}' "
        f"AND metric = '{window['metric']}' AND toUnixTimestamp(w) = {window['w']} "
        f"AND part = {window['part']}"
    )


def only(findings: list[dict[str, Any]], check: str) -> dict[str, Any]:
    (found,) = [finding for finding in findings if finding["check"] == check]
    return found


def test_a_correct_pipeline_has_no_difference(pipeline: Any, dia: Any) -> None:
    """Operators ignore an audit with false alarms: ledger, rows, DLQ and log agree."""
    code, report, _ = audited(dia, "--deep")
    assert (code, report["clean"], report["findings"]) == (0, True, [])
    oracle = pipeline.oracle
    assert report["records_read_again"] == oracle.produced
    metrics = [row for row in report["partitions"] if row["topic"] == "model.metrics"]
    assert sum(row["applied"] for row in metrics) == oracle.applied
    assert sum(row["duplicates"] for row in metrics) == oracle.duplicates > 0
    assert sum(row["dead"] for row in metrics) == oracle.dead.total() > 0
    assert sum(row["in_rows"] for row in metrics) == oracle.applied
    trained = [row for row in report["partitions"] if row["topic"] == "train.results"]
    assert sum(row["applied"] for row in trained) == pipeline.trained
    assert report["windows_judged"] > 100


def test_a_lost_row_is_found_and_its_window_is_named(tampered: Any, dia: Any) -> None:
    """The sums reveal the deleted row; the deep audit names its window and offsets."""
    window = victim(tampered)
    tampered.everywhere(
        f"ALTER TABLE m1_local DELETE WHERE {where(window)} SETTINGS mutations_sync = 2"
    )
    code, report, err = audited(dia)
    assert code == 1
    assert "--deep" in err
    finding = only(report["findings"], "applied = events in window rows")
    assert finding["partition"] == window["part"]
    assert int(finding["expected"]) - int(finding["found"]) == window["n"]
    assert only(report["findings"], "h1 = sum of its minutes")["window"].startswith(
        f"{window['tenant']} {window['model']} {window['metric']} "
    )
    code, report, _ = audited(dia, "--deep")
    finding = only(report["findings"], "window: exists")
    assert code == 1
    assert finding["found"] == "nothing"
    assert finding["expected"].startswith(f"n={window['n']} ")
    assert finding["partition"] == window["part"]
    assert finding["offsets"]
    assert f"{window['tenant']} {window['model']} {window['metric']} 20" in finding["window"]


def test_a_doubled_row_is_found_and_both_rows_are_named(tampered: Any, dia: Any) -> None:
    """The second row is another incarnation of a window, as rebuilt state would write it."""
    window = victim(tampered)
    tampered.everywhere(COPY.format(change="inc + 3 AS inc, ver + 3 AS ver") + where(window))
    code, report, _ = audited(dia, "--deep")
    assert code == 1
    finding = only(report["findings"], "applied = events in window rows")
    assert int(finding["found"]) - int(finding["expected"]) == window["n"]
    finding = only(report["findings"], "window: count")
    assert finding["found"].startswith(f"n={2 * window['n']} ")
    assert f"{window['n']} events too many" in finding["meaning"]
    assert "2 rows" in finding["meaning"]


def test_a_wrong_sum_is_found_although_every_count_is_right(tampered: Any, dia: Any) -> None:
    """No counter reveals a wrong sum; only the hours and the log do."""
    window = victim(tampered)
    tampered.everywhere(COPY.format(change="s1 + 0.001 AS s1, ver + 1 AS ver") + where(window))
    code, report, _ = audited(dia)
    assert code == 1
    hour, day = "h1 = sum of its minutes", "d1 = sum of its minutes"
    # Soon after midnight, the window's day is over, too, and is compared.
    assert [finding["check"] for finding in report["findings"]] in ([hour], [hour, day])
    code, report, _ = audited(dia, "--deep")
    finding = only(report["findings"], "window: sum")
    assert code == 1
    counted, summed = finding["expected"].split()
    assert counted == f"n={window['n']}"
    assert float(summed.removeprefix("sum=")) == pytest.approx(window["s1"], rel=1e-12)


def test_a_range_bounds_the_compared_windows(tampered: Any, dia: Any) -> None:
    """With --from and --to, a difference outside the range is ignored, one inside is found."""
    window = victim(tampered)
    tampered.everywhere(COPY.format(change="s1 + 1 AS s1, ver + 1 AS ver") + where(window))
    start, stop = window["w"], window["w"] + 60
    _, inside, _ = audited(dia, "--deep", "--from", str(start), "--to", str(stop))
    assert only(inside["findings"], "window: sum")
    _, outside, _ = audited(dia, "--deep", "--from", str(stop))
    assert all(not f["check"].startswith("window") for f in outside["findings"])
    assert 0 < inside["windows_judged"] < 1000


def test_a_dead_letter_without_a_row_is_found(tampered: Any, dia: Any) -> None:
    """Users who count dead letters in ClickHouse must be able to trust the count."""
    ((name, off),) = tampered.ask("SELECT id, off FROM dead_letters_local ORDER BY id LIMIT 1")[:1]
    tampered.everywhere(
        f"ALTER TABLE dead_letters_local DELETE WHERE id = '{name}' SETTINGS mutations_sync = 2"
    )
    code, report, _ = audited(dia)
    assert code == 1
    finding = only(report["findings"], "DLQ = dead_letters rows")
    assert (finding["topic"], finding["offsets"]) == (MODEL_METRICS.name, str(off))


def test_a_wrong_ledger_is_found(tampered: Any, dia: Any) -> None:
    """Its own equation, the offsets and the log contradict it."""
    tampered.everywhere(
        "INSERT INTO ledger_local SELECT * REPLACE "
        "(applied + 1 AS applied, next_offset + 2 AS next_offset, ver + 1 AS ver) "
        "FROM ledger_local FINAL WHERE part = 2"
    )
    code, report, _ = audited(dia, "--deep")
    assert code == 1
    checks = {finding["check"] for finding in report["findings"]}
    assert {
        "ledger: read = applied + duplicates + dead + shed",
        "committed offset = ledger",
        "log recounted = ledger's applied",
    } <= checks
    assert all(finding["partition"] == 2 for finding in report["findings"])


def test_a_difference_is_one_sentence_with_its_place(tampered: Any, dia: Any) -> None:
    """The operator reads which two counts differ, where, and by how much."""
    window = victim(tampered)
    tampered.everywhere(
        f"ALTER TABLE m1_local DELETE WHERE {where(window)} SETTINGS mutations_sync = 2"
    )
    code, out, err = dia("audit", "--deep", "--wait", "0")
    assert code == 1
    assert "DIFFERENCE  window: exists" in out
    assert f"partition {window['part']}" in out
    assert f"{window['n']} events lost: the window has no row" in out
    assert "differences" in err


def test_an_unreachable_shard_ends_the_audit_without_a_verdict(
    pipeline: Any, dia: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable shard is no loss: exit code 4, not 1."""
    first, _ = pipeline.settings.shards()
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", f"{first[0]},http://127.0.0.1:9")
    code, out, err = dia("audit")
    assert (code, out) == (4, "")
    assert "127.0.0.1:9" in err
