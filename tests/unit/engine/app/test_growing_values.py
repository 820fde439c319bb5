"""Growing values of one tenant: its events are refused, and the other tenant is unaffected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams import App, Distinct, Last, Record, TopK
from streams.testing import SETTINGS

NOW_MS = 1_760_000_000_000
MINUTE_MS = NOW_MS // 3_600_000 * 3_600_000 - 3_600_000
"""start of the window of the first event"""
LONG = 20_000
"""characters of a text"""
MANY = 70
"""more such texts than the least `max_table_bytes` has room for"""
VICTIMS = [("a", "hello"), ("a", "again"), ("b", "hello"), ("b", "é")]
"""Page and text of its events."""


class Note(Record):
    tenant_id: str
    page: str
    text: str
    ts: int


def _app():
    app = App("acme")
    notes = app.topic(
        "notes", value_type=Note, key_field="tenant_id", time_field="ts", partitions=1
    )
    again = app.topic("again", value_type=Note, key_field="tenant_id", partitions=1)
    fold = {"kinds": Distinct("text"), "top": TopK("text"), "last": Last("text")}
    app.windows("pages", of=notes, by=("tenant_id", "page"), size="1m", grace="1m", fold=fold)
    kept = app.Table("kept", default=list)

    @app.agent(again)
    async def keep(stream):
        async for note in stream:
            kept[note.tenant_id] = [*kept[note.tenant_id], note.text]

    return app, (notes, again), kept


def _note(tenant, page, text, second=0):
    return Note(tenant_id=tenant, page=page, text=text, ts=MINUTE_MS + 1000 * second)


@pytest.fixture
def tested(app_tester):
    def run(hostile, act=None):
        """The output of the other tenant, and the tester afterwards."""
        app, topics, kept = _app()
        settings = replace(SETTINGS, max_table_bytes=1 << 20)
        tester = app_tester(app, settings=settings, now_ms=NOW_MS)
        for half in range(2):
            for topic in topics:
                events = [*hostile, *(_note("victim", *one) for one in VICTIMS[half::2])]
                for event in events:
                    key, value = event.tenant_id.encode(), topic.codec.encode(event)
                    tester._run(tester._append(topic.name, key, value, ()))
            tester.settle()
            if act is not None and half == 0:
                getattr(tester, act)()
        tester.send(topics[0], _note("last", "end", "", 600))
        rows = [row for row in tester.rows("pages") if row["tenant_id"] == "victim"]
        own = ("kinds", "top", "top_n", "last")
        pages = {row["page"]: [row[name] for name in own] for row in rows}
        return pages, tester.table(kept)["victim"], tester

    return run


HOSTILE = {
    "texts": [_note("hostile", str(n), "x" * LONG) for n in range(MANY)],
    "wide texts": [_note("hostile", str(n), "é" * (LONG // 3)) for n in range(MANY)],
    "keys": [_note("hostile", str(n) * (LONG // 2), "") for n in range(MANY)],
}


@pytest.mark.parametrize(
    ("sent", "act"), [("texts", None), ("keys", "crash"), ("wide texts", "move")]
)
def test_another_tenant_gets_the_same_results_as_without_the_growing_tenant(tested, sent, act):
    """The partition must not stop with `state_limit` for all tenants."""
    pages, kept, _ = tested([])
    assert (len(pages), len(kept)) == (2, 4)
    *beside, tester = tested(HOSTILE[sent], act)
    assert beside == [pages, kept]
    assert {letter.code for letter in tester.dead_letters} == {"over_quota"}
    assert all(b"hostile" in letter.value for letter in tester.dead_letters)
