"""`dia rebuild` on a real stack, with rows of a shard deleted and others made wrong."""

from __future__ import annotations

import io
import json
import time
from typing import Any

DAY_S = 86_400


def _count(pipeline: Any, table: str) -> int:
    return sum(n for (n,) in pipeline.ask(f"SELECT sum(n) FROM {table}_local FINAL"))


def _rebuilt(
    dia: Any, *options: str, first_s: int | None = None
) -> tuple[int, dict[str, int], list[str], str]:
    """Exit code, totals over the partitions, hours and days that differ, messages."""
    today_s = int(time.time()) // DAY_S * DAY_S
    first_s = today_s - DAY_S if first_s is None else first_s
    bounds = ("--from", str(first_s), "--to", str(today_s + 2 * DAY_S))
    code, out, err = dia("rebuild", *bounds, "--json", *options)
    if not out.strip():
        return code, {}, [], err
    report = json.loads(out)
    totals: dict[str, int] = {}
    for line in report["partitions"]:
        for name, n in line.items():
            totals[name] = totals.get(name, 0) + n
    return code, totals, report["stale"], err


def test_lost_and_wrong_rows_are_those_of_the_log_again(tampered: Any, dia: Any) -> None:
    """A shard without its rows, and a row with another count: the audit finds nothing afterwards."""
    lost, spoilt = tampered.shards
    whole = {table: _count(tampered, table) for table in ("m1", "h1", "d1")}
    for table in ("m1", "h1", "d1"):
        lost.command(f"TRUNCATE TABLE {table}_local")
    spoilt.command(
        "INSERT INTO m1_local SELECT * REPLACE (n + 1 AS n, ver + 1 AS ver) FROM m1_local FINAL "
        "ORDER BY tenant, model, metric, w LIMIT 1"
    )
    code, found, _, err = _rebuilt(dia, "--dry-run")
    assert code == 0, err
    assert found["lost"] > 100
    assert (found["changed"], found["emptied"]) == (1, 0)
    assert _count(tampered, "m1") < whole["m1"]
    code, found, stale, err = _rebuilt(dia, "--yes")
    assert (code, stale) == (0, []), err
    assert {table: _count(tampered, table) for table in whole} == whole
    code, out, err = dia("audit", "--deep", "--wait", "0")
    assert code == 0, out + err
    code, again, _, _ = _rebuilt(dia, "--yes")
    written = [again[name] for name in ("changed", "lost", "emptied", "touched")]
    assert (code, written) == (0, [0, 0, 0, 0])


def test_a_range_that_cuts_an_hour_takes_nothing_from_it(tampered: Any, dia: Any) -> None:
    """Minutes are lost, and their hours still count them: only a whole hour is computed again."""
    whole = {table: _count(tampered, table) for table in ("m1", "h1", "d1")}
    lost, _ = tampered.shards
    [(hour_s,)] = lost.query("SELECT toUnixTimestamp(max(w)) FROM h1_local FINAL")[1]
    lost.command("TRUNCATE TABLE m1_local")
    code, _, _, err = _rebuilt(dia, "--yes", first_s=int(hour_s) + 3540)
    assert (code, "Rebuild the whole hour" in err) == (5, True), err
    assert _count(tampered, "h1") == whole["h1"]
    lost.command(
        "INSERT INTO h1_local SELECT * REPLACE (arrayMap(code -> code + 1, sk_k) AS sk_k) "
        "FROM h1_local FINAL ORDER BY w LIMIT 1"
    )
    code, _, stale, err = _rebuilt(dia, "--dry-run")
    assert (code, len(stale) > 1) == (0, True), err
    code, _, stale, err = _rebuilt(dia, "--yes")
    assert (code, stale) == (0, []), err
    assert {table: _count(tampered, table) for table in whole} == whole


def test_a_row_of_the_ledger_is_written_where_it_is_older_than_its_partition(
    tampered: Any, dia: Any
) -> None:
    """A backup brings back rows of its time; what is there already must not be told as lost."""

    def ledger() -> list[Any]:
        columns = "grp, topic, part, epoch, next_offset, read"
        found = tampered.ask(f"SELECT {columns} FROM ledger_local FINAL")
        return sorted(map(tuple, found))

    whole = ledger()
    code, _, _, err = _rebuilt(dia, "--facts", "--dry-run")
    assert (code, "facts: 0 rows of dead letters, 0 of the ledger" in err) == (0, True), err
    tampered.everywhere(
        "CREATE TABLE ledger_old ENGINE = Memory AS SELECT * REPLACE "
        "(next_offset - 1 AS next_offset, ver - 1 AS ver) FROM ledger_local FINAL",
        "TRUNCATE TABLE ledger_local",
        "INSERT INTO ledger_local SELECT * FROM ledger_old",
        "DROP TABLE ledger_old",
    )
    code, _, _, err = _rebuilt(dia, "--facts", "--yes")
    assert (code, f"{len(whole)} of the ledger" in err) == (0, True), err
    assert ledger() == whole


def test_a_rebuild_is_not_begun_without_consent_or_a_range(
    pipeline: Any, dia: Any, monkeypatch: Any
) -> None:
    """It writes into tables that dashboards read."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, _, err = _rebuilt(dia)
    assert (code, "--yes" in err) == (5, True)
    code, _, err = dia("rebuild", "--from", "-40d", "--to", "-1h", "--dry-run")
    assert code == 2
    assert "may have expired" in err
    code, _, err = dia("rebuild", "--from", "-2h", "--to", "-1h", "--accept-gap", "x", "--dry-run")
    assert code == 2
