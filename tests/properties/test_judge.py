"""The audit's independent decoder and the pipeline's own code agree on every record."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.agents.agent import EventBatch
from streams.engine.decode.codecs import Limits, decode
from streams.engine.decode.scanning import Scanner
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.memory_files import MemoryFiles
from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy
from streams.operate.audit.reference_decoder import ReferenceDecoder, Rules

FUTURE_S, LATE_S, TTL_S = 300, 3600, 60
NOW_MS = 1_760_000_000_000
RULES = Rules(
    source=MODEL_METRICS,
    future_max_ms=FUTURE_S * 1000,
    late_max_ms=LATE_S * 1000,
    dedupe_ttl_ms=TTL_S * 1000,
)

names = st.sampled_from(["t", "é", "x" * 128, "x" * 129, "", "a\nb", "\ud83d\ude00"])
odd = st.sampled_from(
    [
        None,
        True,
        1,
        -1,
        0.5,
        "",
        [],
        {},
        10**200,
        -(10**151),
        1e150,
        1.1e150,
        -0.0,
        2**63,
        2**63 - 1,
    ]
)
scraps = st.sampled_from(
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"\xef\xbb\xbf{}", b" ", b"{}\n", b"{}{}"),
        *(b'{"z": NaN}', b'{"z": "\\ud800"}', b'{"a": 1e999}', b'{"a": 01}', b'{"\x01": 1}'),
    ]
)


@st.composite
def values(draw: Any) -> bytes:
    """Mostly events, some malformed, as text in several JSON notations."""
    if draw(st.integers(0, 19)) == 0:
        return draw(scraps)
    event: dict[str, Any] = {
        "tenant_id": "t",
        "model_id": draw(st.sampled_from(["m", "n"])),
        "metric": "x",
        "ts": NOW_MS
        + draw(st.sampled_from([*[0] * 6, 1, -LATE_S * 1000, 299_000, 400_000, -4_000_000])),
        "value": draw(st.sampled_from([0, 1, 0.5, -0.0, 0.0, 1e150])),
    }
    event_id = draw(st.sampled_from([None, "a", "b", "c"]))
    if event_id is not None or draw(st.booleans()):
        event["event_id"] = event_id
    if draw(st.integers(0, 7)) == 0:
        event[draw(st.sampled_from([*event, "run_id", "z"]))] = draw(names | odd)
    if draw(st.integers(0, 9)) == 0:
        del event[draw(st.sampled_from(list(event)))]
    text = json.dumps(
        event, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    if draw(st.integers(0, 3)) == 0:  # as pandas and Lua write times
        tail = draw(st.sampled_from([".0", "e0", ".5", "0E-1", ".00000000000000000001"]))
        text = re.sub(r'("ts": -?\d+)(?=[,\s}])', rf"\g<1>{tail}", text)
    return text.encode(errors="surrogatepass")


headers = st.sampled_from(
    [
        *((),) * 12,
        *((("dia.schema", b"1"),), (("dia.schema", b"2"),), (("dia.schema", b"x"),)),
        (("dia.replay.append_ts", str(NOW_MS - 50_000).encode()),),
        (("dia.replay.append_ts", str(NOW_MS - 70_000).encode()),),
        (("dia.replay.append_ts", str(NOW_MS + 9_999_999).encode()),),
        (("dia.replay.append_ts", b"-1"),),
        (("dia.schema", b"9"), ("dia.schema", b"1")),
    ]
)
steps_ms = st.integers(0, 40_000) | st.sampled_from([-500, -70_000, 70_000, -9_000_000, 9_000_000])
records = st.tuples(values(), headers, st.sampled_from([*[b"t"] * 12, "é".encode(), b"u", None]))


FAR_FUTURE = b'{"tenant_id": "t", "model_id": "m", "metric": "x", "ts": 1%s, "value": 0}' % (
    b"0" * 40
)


class Pipeline:
    """The pipeline's codec and agent on bare tables, with the runtime's `Scope` interface."""

    def __init__(self) -> None:
        policy = WindowPolicy(grace_ms=0, late_hold_s=0.0)
        self.windows = MinuteWindows(0, 0, 1, lambda t, m, k: np.zeros(len(t), np.int32), policy)
        self.seen = SeenEvents(TTL_S * 1000, MemoryFiles())
        self.fingerprints = Fingerprints(bytes(16))
        self.dead: set[int] = set()
        self.applied = self.duplicates = 0

    def table(self, spec: Any) -> Any:
        return {"minute_windows": self.windows, "seen_events": self.seen}[spec.name]

    def dead_letter(self, row: int, code: str, message: str, tenant: str = "") -> None:
        self.dead.add(row)

    def emit(self, record: Any) -> None:
        raise AssertionError

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        self.applied += applied
        self.duplicates += duplicates

    def run(self, batch: RecordBatch) -> None:
        scanner, limits = Scanner.of(MODEL_METRICS), Limits(FUTURE_S, LATE_S)
        if scanner is not None:
            decoded = scanner.decode(batch, limits)
        else:
            decoded = decode(MODEL_METRICS, batch, limits)
        self.dead |= {bad.position for bad in decoded.bad}
        if decoded.events:
            event_ms, append_ms = decoded.event_ms, decoded.append_ms
            appended_ms = np.array(batch.timestamps, np.int64)
            log, _ = log_times(LogTime(), appended_ms, Expiry.of(TTL_S * 1000))
            columns = (decoded.events, decoded.positions, event_ms, append_ms, log, decoded.fields)
            events = EventBatch(batch, *columns)
            AGGREGATE_METRICS.process(events, self)


@given(st.lists(st.tuples(records, steps_ms), max_size=12))
@example([((FAR_FUTURE, (), b"t"), 0)])
def test_audit_and_pipeline_agree_on_every_record(history: list[Any]) -> None:
    """A wrong audit reports losses that did not happen, or misses one."""
    n, append_ms, now_ms = len(history), [], NOW_MS
    for _, step_ms in history:
        now_ms += step_ms
        append_ms.append(now_ms)
    batch = RecordBatch(
        TopicPartition(MODEL_METRICS.name, 0),
        0,
        n,
        list(range(n)),
        append_ms,
        [key for (_, _, key), _ in history],
        [value for (value, _, _), _ in history],
        [found for (_, found, _), _ in history],
    )
    pipeline = Pipeline()
    pipeline.run(batch)
    judge = ReferenceDecoder(RULES)
    verdicts = [
        judge.judge(append_ms[i], key, value, found)[0]
        for i, ((value, found, key), _) in enumerate(history)
    ]
    assert {i for i, verdict in enumerate(verdicts) if verdict == "dead"} == pipeline.dead
    assert verdicts.count("applied") == pipeline.applied
    assert verdicts.count("duplicate") == pipeline.duplicates


@given(st.integers(1, 200_000), st.booleans())
def test_a_replayed_id_is_decided_by_its_log_time(apart_ms: int, conflict: bool) -> None:
    """An id is remembered for its TTL in log time. Looked up by its first append time, a replay's
    verdict would depend on whether an expired id is still in memory."""
    said = {"tenant_id": "t", "model_id": "m", "metric": "x", "ts": NOW_MS, "event_id": "a"}
    resent = json.dumps({**said, "value": 1}).encode()
    replayed = json.dumps({**said, "value": 2 if conflict else 1}).encode()
    found = (("dia.replay.append_ts", str(NOW_MS - 1000).encode()),)
    batch = RecordBatch(
        TopicPartition(MODEL_METRICS.name, 0),
        *(0, 2, [0, 1], [NOW_MS, NOW_MS + apart_ms], [b"t", b"t"], [resent, replayed], [(), found]),
    )
    pipeline = Pipeline()
    pipeline.run(batch)
    if apart_ms > TTL_S * 1000:
        assert (pipeline.applied, pipeline.duplicates, pipeline.dead) == (2, 0, set())
    else:
        assert (pipeline.applied, pipeline.duplicates) == (1, int(not conflict))
        assert pipeline.dead == ({1} if conflict else set())
