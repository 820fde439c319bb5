"""A trace's verdict of each record equals an oracle's, for random histories of one partition.

The oracle implements docs/windows.md by itself: decode, late, then ids. It sees the sent records
and shares no code or data with the trace, which sees logs and journals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams import App, Count, Record
from streams.operate.trace.verdict import Fate, SeenRecord, verdicts
from streams.testing import SETTINGS, AppTester
from tests.depth import cases
from tests.traced import traced

TTL_S = 60
WINDOW_MS, GRACE_MS = 60_000, 30_000
RULES = replace(SETTINGS, dedupe_ttl_s=TTL_S, idle_close_s=86_400)
IDS = ("o-1", "o-10", "o-2")


class Order(Record):
    id: str
    account: str
    amount: float
    ts: int


app = App("shop")
orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts", partitions=1)
app.windows(
    "sales", of=orders, by=("account",), size="1m", grace="30s", fold={"n": Count()}, ids="id"
)


@dataclass
class Oracle:
    watermark_ms: int = 0
    first: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    said: list[tuple[str, Fate, int | None, str]] = field(default_factory=list)

    def judge(self, place: int, name: str, ts: int, amount: float, now_ms: int) -> None:
        if ts // WINDOW_MS * WINDOW_MS + WINDOW_MS + GRACE_MS <= self.watermark_ms:
            self.said.append((name, Fate.DEAD_LETTER, None, "window_closed"))
            return
        self.watermark_ms = max(self.watermark_ms, ts)
        known = self.first.get(name)
        if known is not None and now_ms - known[1] <= TTL_S * 1000:
            if known[2] == (ts, amount):
                self.said.append((name, Fate.DUPLICATE, known[0], ""))
            else:
                self.said.append((name, Fate.DEAD_LETTER, None, "idempotency_conflict"))
            return
        self.first[name] = (place, now_ms, (ts, amount))
        self.said.append((name, Fate.COUNTED, None, ""))


names = st.sampled_from(IDS)
actions = st.one_of(
    st.tuples(st.just("send"), names, st.sampled_from((1.0, 2.0)), st.sampled_from((0, 0, 0, 300))),
    st.tuples(st.just("again"), names),
    st.tuples(st.just("bad"), names),
    st.tuples(st.just("wait"), st.sampled_from((1, 20, 70))),
    st.tuples(st.just("crash")),
)


def play(tester, oracle, steps):
    """The values in order of their offsets."""
    last = {}
    sent = []
    for action, *rest in steps:
        if action == "wait":
            tester.advance(rest[0])
        elif action == "crash":
            tester.crash()
        elif action == "bad":
            oracle.said.append((rest[0], Fate.DEAD_LETTER, None, "invalid_json"))
            sent.append(b'{"id":"%b",' % rest[0].encode())
            tester.send(orders, sent[-1], key="a")
        elif action == "send" or rest[0] in last:
            now_ms = tester.now_ms
            if action == "send":
                name, amount, ago_s = rest
                last[name] = (now_ms - ago_s * 1000, amount)
            name = rest[0]
            ts, amount = last[name]
            oracle.judge(len(sent), name, ts, amount, now_ms)
            sent.append(
                json.dumps({"id": name, "account": "a", "amount": amount, "ts": ts}).encode()
            )
            tester.send(orders, sent[-1], key="a")
    return sent


@settings(deadline=None, max_examples=cases(30))
@given(steps=st.lists(actions, min_size=3, max_size=14), unread=st.booleans())
def test_each_verdict_equals_the_oracles(steps, unread):
    """Counted, duplicate of a given record, dead letter with a code, or not read yet; traced by id and
    by offset."""
    oracle = Oracle()
    with AppTester(app, settings=RULES) as tester:
        sent = play(tester, oracle, steps)
        if unread:
            tester._run(tester._process.kill())
            tester._run(tester._append("orders", b"a", b'{"id":"o-1",', ()))
            oracle.said.append(("o-1", Fate.UNREAD, None, ""))
        reports = {name: traced(tester, name) for name in IDS}
        found = {
            one.record.offset: (name, one.verdict.fate, one.verdict.first, one.verdict.code)
            for name, report in reports.items()
            for one in report.records
        }
        assert all(report.whole for report in reports.values())
        for offset in found:
            by_place = {
                one.record.offset: (one.verdict.fate, one.verdict.first, one.doubts)
                for one in traced(tester, f"orders/0/{offset}").records
            }
            assert by_place[offset] == (*found[offset][1:3], [])
    assert [found[offset] for offset in sorted(found)] == oracle.said
    assert len(oracle.said) == len(sent) + unread


records = st.lists(
    st.builds(
        SeenRecord,
        offset=st.just(0),
        append_ms=st.integers(0, 300),
        epoch=st.integers(0, 1),
        dead=st.sampled_from(("", "", "x")),
        keeps_id=st.booleans(),
        shed=st.booleans(),
    ),
    max_size=8,
)


@given(given_records=records, committed=st.integers(0, 8), ttl_ms=st.sampled_from((None, 100)))
def test_a_duplicate_names_an_earlier_record_within_the_ttl(given_records, committed, ttl_ms):
    """Across epochs, losses and sheds. A skipped record makes no dead letter."""
    seen = [
        replace(one, offset=offset, shed=one.shed and not one.dead)
        for offset, one in enumerate(given_records)
    ]
    for one, verdict in zip(seen, verdicts(seen, committed=committed, ttl_ms=ttl_ms), strict=True):
        assert (verdict.fate is Fate.DEAD_LETTER) == bool(one.dead)
        if verdict.fate is Fate.DUPLICATE:
            first = seen[verdict.first]
            assert ttl_ms is not None
            assert first.offset < one.offset
            assert first.epoch == one.epoch
            assert one.append_ms - first.append_ms <= ttl_ms
            assert not first.shed
        elif verdict.fate is Fate.COUNTED:
            assert one.offset < committed
            assert not one.shed
