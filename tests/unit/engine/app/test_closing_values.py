"""Closed windows move into a table that never forgets: one tenant's closes are refused, and another tenant gets what
it gets alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams import App, Record
from streams.connect.broker.opened import opened
from streams.core.topics.current_stream import current
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.snapshot_reader import SnapshotReader
from streams.operate.trace.verdict import Fate
from streams.testing import SETTINGS
from tests.traced import traced

NOW_MS = 1_760_000_000_000
START_MS = NOW_MS // 60_000 * 60_000 - 3_600_000
TEXT = "x" * 90_000
MINUTES = 14
"""more windows of such a text than the least `max_table_bytes` has room for"""


class Note(Record):
    tenant_id: str
    page: str
    text: str
    ts: int


def _app(key_field):
    app = App("acme")
    notes = app.topic("notes", value_type=Note, key_field=key_field, time_field="ts", partitions=1)
    sent = app.topic("closed", value_type=dict, partitions=1)
    past = app.Table("past", default=list, keys="any")
    shown = app.clickhouse_table(
        "shown", columns={"who": str, "w": int}, order_by=("who", "w"), shard_by=("who",)
    )

    async def on_close(key, value):
        name, (begin, _) = key
        past[name] = [*past[name], value]
        await sent.send(key=name, value={"chars": len(value)})
        current.get().fact(shown, {"who": name, "w": int(begin)})

    texts = app.Table("texts", default=str, keys="any", on_window_close=on_close)
    by_minute = texts.tumbling(60, expires=0)

    @app.agent(notes)
    async def keep(stream):
        async for note in stream:
            by_minute[note.tenant_id] += note.text

    return app, notes, past


def _note(tenant, minute, text):
    return Note(tenant_id=tenant, page="p", text=text, ts=START_MS + 60_000 * minute)


@pytest.fixture
def tested(app_tester):
    def run(tenants, act=None, key_field="tenant_id"):
        app, notes, past = _app(key_field)
        settings = replace(SETTINGS, max_table_bytes=1 << 20)
        tester = app_tester(app, settings=settings, now_ms=NOW_MS)
        for minute in range(MINUTES):
            for tenant, text in tenants.items():
                tester.send(notes, _note(tenant, minute, text))
            if act is not None and minute == MINUTES // 2:
                getattr(tester, act)()
        tester.send(notes, _note("last", MINUTES, ""))
        return tester, past

    return run


def _gets(tester, past, tenant):
    shown = [row["w"] for row in tester.rows("shown") if row["who"] == tenant]
    sent = [one.value for one in tester.outputs("closed") if one.key == tenant]
    return tester.table(past).get(tenant, []), sorted(shown), sent


@pytest.mark.parametrize(
    ("act", "key_field"), [(None, "tenant_id"), ("crash", "tenant_id"), ("move", "page")]
)
def test_another_tenant_gets_what_it_gets_alone(tested, act, key_field):
    """The partition stopped, `state_limit`, for all tenants: also where a restart came between a window's
    events and its close, and where keys do not name the tenant."""
    alone = _gets(*tested({"victim": "hello"}), "victim")
    tester, past = tested({"hostile": TEXT, "victim": "hello"}, act, key_field)
    assert _gets(tester, past, "victim") == alone
    kept, shown, sent = _gets(tester, past, "hostile")
    assert 0 < len(kept) < MINUTES
    assert (len(shown), len(sent)) == (MINUTES, MINUTES), "rows and records of all its windows"
    letters = tester.dead_letters
    assert [letter.code for letter in letters] == ["over_quota"] * (MINUTES - len(kept))
    rows = [row for row in tester.rows("dead_letters") if row["stage"] == "window"]
    assert len(rows) == len(letters)
    assert {row["tenant"] for row in rows} == {"hostile"}


def test_the_event_before_a_refused_close_is_counted(tested):
    """The letter names its place, but no record failed: neither trace nor audit take one for dead."""
    tester, _ = tested({"hostile": TEXT})
    report = traced(tester, "hostile")
    records = [one for one in report.records if one.record.tp.topic == "notes"]
    assert [one.verdict.fate for one in records] == [Fate.COUNTED] * MINUTES
    assert [len(one.letters) for one in records] == [0] * MINUTES
    assert {one.letter.stage for one in report.letters} == {"window"}
    world, [agent] = tester._world, tester.app.agents.values()

    async def letters():
        async with opened(world.broker.admin()) as admin, opened(world.broker.reader()) as reader:
            books = SnapshotReader(world.settings, world.clock, _NoRows(), reader, admin)
            return await books._dead(agent.source, agent.group, [0], RefusedRows())

    found, _ = tester._run(letters())
    assert set(found.in_dlq.values()) == {"over_quota"}
    assert not found.records


class _NoRows:
    async def dead_letters(self, topic):
        return {}, set()
