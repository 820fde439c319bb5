"""Ten thousand events, three hundred of them bad in six ways, and the repair of all that can be
repaired."""

from __future__ import annotations

import json
import signal
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from agents.app import MODEL_METRICS
from schemas.metric import ModelMetric
from streams.core.types import Headers
from streams.engine.decode import codecs
from tests.unit.operate.replay.plugin import install

EVENTS = 10_000
POISON_EVERY = 200
"""Bad events of each kind; 50 in 10,000."""
HOURS_BACK_MS = 3 * 3_600_000
MONTH_MS = 30 * 86_400_000
OLD_SCHEMA: Headers = (("dia.schema", b"0"),)
RENAME = '[{"op": "move", "from": "/metric_name", "path": "/metric"}]'

Window = tuple[str, str, str, int]


class OldMetric(Struct, frozen=True, kw_only=True):
    """Events of an old client: seconds instead of milliseconds."""

    event_id: str
    tenant_id: str
    model_id: str
    metric: str
    ts_s: float
    value: float


def to_milliseconds(old: OldMetric) -> ModelMetric:
    """The upcaster that was missing."""
    return ModelMetric(
        event_id=old.event_id,
        tenant_id=old.tenant_id,
        model_id=old.model_id,
        metric=old.metric,
        ts=round(old.ts_s * 1000),
        value=old.value,
    )


class Stream:
    """The events, their defects, and the windows that would result without defects."""

    def __init__(self, now_ms: int) -> None:
        self.records: list[tuple[bytes, bytes, Headers]] = []
        self.oracle: defaultdict[Window, list[float]] = defaultdict(list)
        for number in range(EVENTS):
            self._add(number, now_ms - HOURS_BACK_MS + 100 * number)

    def _add(self, number: int, ts_ms: int) -> None:
        event: dict[str, Any] = {
            "event_id": f"e{number}",
            "tenant_id": f"t{number % 7}",
            "model_id": f"m{number % 3}",
            "metric": "latency",
            "ts": ts_ms,
            "value": float(number % 101),
        }
        key, kind, headers = event["tenant_id"].encode(), number % POISON_EVERY, ()
        series = event["tenant_id"], event["model_id"], event["metric"], ts_ms // 60_000 * 60
        if kind not in (3, 4, 5):
            self.oracle[series].append(event["value"])
        if kind == 0:
            event["ts_s"] = event.pop("ts") / 1000
            headers = OLD_SCHEMA
        elif kind == 1:
            event["metric_name"] = event.pop("metric")
        elif kind == 2:
            event["value"] = str(event["value"])
        elif kind == 3:
            self.records.append((key, json.dumps(event).encode()[:-20], ()))
            return
        elif kind == 4:
            event["ts"] -= MONTH_MS
        elif kind == 5:
            key = b"nobody"
        self.records.append((key, json.dumps(event).encode(), headers))

    def expected(self) -> dict[Window, tuple[int, float]]:
        return {window: (len(values), sum(values)) for window, values in self.oracle.items()}


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch):
    """Deploy version 0 of the schema and its upcaster."""

    def deploy() -> None:
        monkeypatch.setitem(MODEL_METRICS.versions, 0, OldMetric)
        monkeypatch.setitem(MODEL_METRICS.upcasters, 0, to_milliseconds)
        codecs._reader.cache_clear()

    yield deploy
    monkeypatch.undo()
    codecs._reader.cache_clear()


def test_repaired_letters_are_counted_once_and_the_rest_is_parked(
    pipeline, dia, doomed, publish, tmp_path, monkeypatch
):
    """Afterwards, the windows are those without defects, and the audit agrees."""
    stream = Stream(pipeline.clock.now_ms())
    pipeline.wait(pipeline.feed(stream.records))
    pipeline.wait(pipeline.settled(EVENTS))

    code, out, _ = dia("dlq", "stats", "--topic", "model.metrics", "--by", "error", "--json")
    assert code == 0
    groups = [json.loads(line) for line in out.splitlines()]
    assert {g["error"]: g["letters"] for g in groups if g.get("error")} == dict.fromkeys(
        (
            *("unknown_schema_version", "missing_field", "wrong_type"),
            *("invalid_json", "timestamp_too_old", "key_mismatch"),
        ),
        50,
    )

    # Without a repair, no letter passes, and planning changes nothing.
    plan = ("replay", "plan", "--topic", "model.metrics", "--json", "--actor", "ann")
    code, out, _ = dia(*plan)
    assert (code, json.loads(out)["letters"], json.loads(out)["file"]) == (0, 0, None)

    # One kind is repaired by a new schema version.
    publish()
    code, out, _ = dia(*plan, "--out", "schema.json")
    assert (code, json.loads(out)["letters"]) == (0, 50)
    assert json.loads(out)["behind"] == {"still_fails": 250}
    code, out, _ = dia("replay", "run", "--plan", "schema.json", "--json")
    assert (code, json.loads(out)["replayed"]) == (3, 50)

    _repair_by_a_patch_with_two_kills(dia, doomed, plan)
    _repair_by_a_function_and_park(dia, plan, tmp_path, monkeypatch)
    read = EVENTS + 150
    pipeline.wait(pipeline.settled(read))
    assert _windows(pipeline) == stream.expected()
    assert _dispositions(pipeline) == {
        ("unknown_schema_version", "replayed"): 50,
        ("missing_field", "replayed"): 50,
        ("wrong_type", "replayed"): 50,
        ("key_mismatch", "parked"): 50,
        ("invalid_json", ""): 50,
        ("timestamp_too_old", ""): 50,
    }

    # Repeating any of it changes nothing.
    for name in ("schema.json", "patch.json", "code.json", "park.json"):
        dia("replay", "run", "--plan", name)
    code, out, _ = dia(*plan)
    assert (code, json.loads(out)["letters"]) == (0, 0)
    pipeline.wait(pipeline.settled(read))
    assert _windows(pipeline) == stream.expected()
    _audited(dia, read)


def _repair_by_a_patch_with_two_kills(dia: Any, doomed: Any, plan: tuple[str, ...]) -> None:
    """A run is killed before a commit, its resumption after one; the third one finishes."""
    code, out, _ = dia(*plan, "--error", "missing_field", "--patch", RENAME, "--out", "patch.json")
    said = json.loads(out)
    assert (code, said["letters"], said["behind"]) == (0, 50, {})
    assert '+  "metric": "latency"' in said["differences"][0]
    # First, each of four partitions is entered and begun, in one transaction each; then the letters
    # follow.
    run = ("replay", "run", "--plan", "patch.json", "--rate", "40")
    assert doomed("before", 11, *run) == -signal.SIGKILL
    assert doomed("after", 5, "replay", "resume", said["plan"], "--rate", "40") == -signal.SIGKILL
    code, out, _ = dia("replay", "status", said["plan"], "--json")
    assert 0 < sum(json.loads(line)["replayed"] for line in out.splitlines()) < 50
    code, out, _ = dia("replay", "resume", said["plan"], "--json", "--actor", "bob")
    assert (code, json.loads(out)["state"], json.loads(out)["replayed"]) == (0, "finished", 50)


def _repair_by_a_function_and_park(
    dia: Any, plan: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python function repairs wrong types; letters with a wrong key are parked."""
    source = (
        "import json\n"
        "def numbers(record):\n"
        "    event = json.loads(record.value)\n"
        "    event['value'] = float(event['value'])\n"
        "    return record._replace(value=json.dumps(event).encode())\n"
    )
    name = install(monkeypatch, folder / "site", "fixes", "numbers", source)
    code, out, _ = dia(*plan, "--error", "wrong_type", "--transform", name, "--out", "code.json")
    assert (code, json.loads(out)["letters"]) == (0, 50)
    assert dia("replay", "run", "--plan", "code.json")[0] == 0
    code, out, _ = dia(
        *plan, "--error", "key_mismatch", "--on-failure", "park", "--out", "park.json"
    )
    assert (code, json.loads(out)["letters"]) == (0, 50)
    code, out, _ = dia("replay", "run", "--plan", "park.json", "--json")
    assert (code, json.loads(out)["parked"]) == (3, 50)


def _audited(dia: Any, read: int) -> None:
    """The audit agrees and has every number of this test."""
    code, out, _ = dia("audit", "--deep", "--json", "--wait", "30s")
    report = json.loads(out)
    assert report["findings"] == [], json.dumps(report["findings"][:3])
    assert code == 0
    mine = [p for p in report["partitions"] if p["topic"] == "model.metrics"]
    sums = {name: sum(p[name] for p in mine) for name in ("read", "applied", "duplicates", "dead")}
    assert sums == {"read": read, "applied": EVENTS - 300 + 150, "duplicates": 0, "dead": 300}
    assert report["records_read_again"] >= read


def _windows(pipeline: Any) -> dict[Window, tuple[int, float]]:
    rows = pipeline.ask(
        "SELECT tenant, model, metric, toUnixTimestamp(w), sum(n), sum(s1) FROM m1_local FINAL "
        "GROUP BY tenant, model, metric, w"
    )
    return {(t, m, x, int(w)): (int(n), float(s1)) for t, m, x, w, n, s1 in rows}


def _dispositions(pipeline: Any) -> Counter[tuple[str, str]]:
    rows = pipeline.ask(
        "SELECT error_code, disposition, count() FROM dead_letters_local FINAL "
        "GROUP BY error_code, disposition"
    )
    found: Counter[tuple[str, str]] = Counter()
    for code, disposition, count in rows:
        found[code, disposition] += int(count)
    return found
