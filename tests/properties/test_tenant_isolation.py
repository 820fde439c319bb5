"""Two tenants share one partition of each topic; one is hostile: the other's results do not change.

The hostile tenant sends whatever an edge's token permits (its own name as the tenant), as fast as
it can. The honest tenant must get the same rows, recorded runs, cards and dead letters as alone,
and nothing may stop. Its own use stays within the guaranteed share
(streams/engine/state/shares.py): half of what one hostile tenant leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.app import AGGREGATE_METRICS, RECORD_TRAINING
from streams.dev.simulation.loop import VirtualLoop, run
from streams.engine.state.shares import Shares
from tests.unit.engine.runtime.test_quarantine import METRICS, TOUCHY, TRAINING, Town

HONEST, HOSTILE = "honest", "hostile"
SETTINGS = replace(
    TOUCHY,
    max_live_windows=50_000,
    fetch_max_records=300,
    commit_max_records=500,
    poison_min_records=60,
    poison_min_tenants=2,
    quarantine_letters_per_s=3.0,
    dedupe_ttl_s=3600,
    max_series=200,
    quota_new_series=60,
    max_ids=400,
    max_models=60,
)
STEP_S = 2.0
DAY_MS = 86_400_000

small = st.integers(0, 9)
honest_step = st.one_of(
    st.tuples(st.just("metric"), small, st.integers(0, 30), st.sampled_from([0, 0, 0, 90_000])),
    st.tuples(st.just("bad"), small, st.just(0), st.just(0)),
    st.tuples(st.just("old"), small, st.just(0), st.just(0)),
    st.tuples(st.just("run"), small, st.integers(0, 20), st.just(0)),
    st.tuples(st.just("alias"), small, st.integers(0, 20), st.just(0)),
)
hostile_step = st.tuples(
    st.sampled_from(
        ["conflicts", "names", "ids", "old", "future", "garbage", "minutes", "echo", "models",
         "no_alias", "echo_runs", "large", "null"]
    ),
    st.integers(1, 150),
    small,
)  # fmt: skip
plans = st.lists(
    st.tuples(st.lists(honest_step, max_size=4), st.lists(hostile_step, max_size=3)),
    min_size=2,
    max_size=10,
)


class Duel(Town):
    """What each tenant sends in a step of the plan."""

    def honest(self, kind, model, number, late_ms):
        now_ms = self.clock.now_ms()
        name = f"m{model}"
        if kind == "metric":
            ts = now_ms - late_ms
            return METRICS, HONEST, self.metric(HONEST, number, model_id=name, ts=ts)
        if kind == "bad":
            return METRICS, HONEST, b'{"tenant_id": "honest", "model_id": %d}' % model
        if kind == "old":
            return METRICS, HONEST, self.metric(HONEST, f"o{model}", ts=now_ms - 9 * DAY_MS)
        event = self.result(HONEST, number, model_id=name, ts=1_760_000_000_000)
        if kind == "alias":
            event |= {"event": "alias_updated", "alias": "best", "result_id": f"a{number}"}
        return TRAINING, name, event

    def hostile(self, kind, count, seed):
        now_ms, names = self.clock.now_ms(), f"{kind}{seed}"
        fields = {
            "conflicts": lambda n: {"event_id": names, "value": float(n)},
            "names": lambda n: {"event_id": f"{names}{n}", "model_id": f"{names}-{n}"},
            "ids": lambda n: {"event_id": f"{names}-{now_ms}-{n}"},
            "old": lambda n: {"ts": now_ms - 9 * DAY_MS + n},
            "future": lambda n: {"ts": now_ms + 10**7 + n},
            "minutes": lambda n: {"event_id": f"{names}{n}", "ts": now_ms - n * 60_000},
            "echo": lambda n: {"event_id": f"e{n % 40}", "model_id": f"m{n % 10}"},
        }
        if kind in fields:
            make = fields[kind]
            events = [self.metric(HOSTILE, n, **make(n)) for n in range(count)]
            return METRICS, [(HOSTILE, event) for event in events]
        if kind in ("garbage", "large", "null"):
            values = {"garbage": b"{\xff", "large": b"[" + b"1" * 40_000, "null": b"null"}
            return METRICS, [(HOSTILE, values[kind])] * count
        changes = {
            "models": lambda n: {"model_id": f"{names}-{n}"},
            "no_alias": lambda n: {"event": "alias_updated", "model_id": f"m{n % 10}"},
            "echo_runs": lambda n: {"result_id": f"r{n % 30}", "model_id": f"m{n % 10}"},
        }
        events = [self.result(HOSTILE, f"{names}{n}", **changes[kind](n)) for n in range(count)]
        return TRAINING, [(event["model_id"], event) for event in events]

    def seen_by_honest(self):
        """All results of the honest tenant, regardless of order and incarnations."""
        windows = defaultdict(lambda: [0, 0.0])
        rows = {table: [] for table in ("m1", "h1", "training_runs", "models")}
        for table, found in rows.items():
            for shard in (0, 1):
                found += [r for r in self.shards.rows(table, shard) if r["tenant"] == HONEST]
        for row in rows["m1"]:
            window = windows[row["model"], row["metric"], row["w"]]
            window[0] += row["n"]
            window[1] += row["s1"]
        runs = sorted((r["model"], r["result_id"], r["event"]) for r in rows["training_runs"])
        cards = sorted((r["model"], _without_times(r["card"])) for r in rows["models"])
        letters = []
        for tp in (METRICS, TRAINING):
            found = self.letters(tp)
            for key, value, headers in zip(found.keys, found.values, found.headers, strict=True):
                owner = key if tp == METRICS else json.loads(value or b"{}").get("tenant_id", "")
                if owner in (HONEST, HONEST.encode()):
                    letters.append((key, value, dict(headers)["dia.dlq.error_code"]))
        return dict(windows), runs, cards, sorted(letters)


def _without_times(card):
    return json.dumps(json.loads(card), sort_keys=True)


def outcome(plan, *, hostile: bool):
    loop = VirtualLoop()
    duel = Duel(loop, SETTINGS, [AGGREGATE_METRICS, RECORD_TRAINING], partitions=1)

    async def whole():
        await duel.create_topics()
        process = duel.process(0)
        process.start()
        for number, (honest, attack) in enumerate(plan):
            await asyncio.sleep(max(0.0, 30 + number * STEP_S - duel.clock.monotonic()))
            asked = [duel.honest(*step) for step in honest]
            for step in attack if hostile else ():
                tp, records = duel.hostile(*step)
                for key, event in records:
                    await duel.send(tp.topic, key, event)
            for tp, key, event in asked:
                await duel.send(tp.topic, key, event)
        await duel.all_settled(process)
        await process.stop()
        return duel.seen_by_honest()

    return run(loop, whole())


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(plans)
def test_a_hostile_tenant_changes_no_result_of_another(plan):
    """It attacks with ids, names, sizes, rates, times and poison: rows, runs, cards and dead
    letters stay the same."""
    assert outcome(plan, hostile=True) == outcome(plan, hostile=False)


def test_the_comparison_detects_a_first_come_first_served_bound(monkeypatch):
    """A planted bug proves that the law can fail."""
    plan = [([], [("ids", 150, number)]) for number in range(6)]
    plan += [([("metric", 1, number, 0)], []) for number in range(6)]
    alone = outcome(plan, hostile=False)
    assert outcome(plan, hostile=True) == alone
    monkeypatch.setattr(Shares, "room", lambda self, _, others=0: self.bound - self.total - others)
    assert outcome(plan, hostile=True) != alone
