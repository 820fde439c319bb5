"""`on_window_close` of `app.windows` fails for one tenant: its rows are final, its calls are made later, each once,
and other tenants notice nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams import App, ClosedWindow, Count, Record, TopK
from streams.core.records.bad_records import ValueRefused
from streams.core.topics.current_stream import current
from streams.core.types import TopicPartition
from streams.engine.runtime.offsets.close_order import CloseOrder, close_group, write_close_orders
from streams.testing import SETTINGS, NotAtRest

NOW_MS = 1_760_000_000_000
START_MS = NOW_MS // 60_000 * 60_000 - 3_600_000


class Click(Record):
    tenant_id: str
    page: str = "p"
    ts: int


class Town:
    """An app whose callback does ``faults[tenant]`` after it sent and owed."""

    def __init__(self, app_tester, by=("tenant_id",), **settings):
        self.app = app = App("acme")
        self.clicks = app.topic(
            "clicks", value_type=Click, key_field="tenant_id", time_field="ts", partitions=1
        )
        self.told = app.topic("told", value_type=dict, partitions=1)
        shown = app.clickhouse_table(
            "shown", columns={"who": str, "w": int}, order_by=("who", "w"), shard_by=("who",)
        )
        self.faults = {}
        self.seen = []

        def tell(window: ClosedWindow):
            self.seen.append(window)
            who = window.key["tenant_id"]
            self.told.send_soon(key=who, value={"n": window.values["n"], "w": window.start_ms})
            current.get().fact(shown, {"who": who, "w": window.start_ms})
            if who in self.faults:
                raise self.faults[who]

        app.windows(
            "per_minute", of=self.clicks, by=by, size=60, grace=0, keys="any",
            fold={"n": Count(), "pages": TopK("page", k=3)}, on_window_close=tell,
        )  # fmt: skip
        self.tester = app_tester(app, settings=replace(SETTINGS, **settings), now_ms=NOW_MS)

    def minutes(self, tenants, *minutes):
        for minute in minutes:
            for tenant in tenants:
                try:
                    self.tester.send(
                        self.clicks, Click(tenant_id=tenant, ts=START_MS + 60_000 * minute)
                    )
                except NotAtRest as held:
                    assert "are held" in str(held)  # noqa: PT017 - the first one of a tenant raises

    def told_of(self, tenant):
        minutes = [
            (one.value["w"] - START_MS) // 60_000
            for one in self.tester.outputs(self.told)
            if one.key == tenant
        ]
        shown = [
            (row["w"] - START_MS) // 60_000
            for row in self.tester.rows("shown")
            if row["who"] == tenant
        ]
        assert sorted(shown) == sorted(minutes), "rows and records of a call are of one commit"
        return sorted(minutes)

    def final(self, tenant):
        return sorted(
            (row["w"] - START_MS) // 60_000
            for row in self.tester.rows("per_minute")
            if row["tenant_id"] == tenant and row["closed"]
        )

    def act(self, what):
        try:
            getattr(self.tester, what)()
        except NotAtRest as held:
            assert "are held" in str(held)  # noqa: PT017 - as above


@pytest.fixture
def town(app_tester):
    return lambda **options: Town(app_tester, **options)


def test_windows_of_other_tenants_close_and_the_row_is_final(town):
    """One exception stopped the partition for all tenants, with all windows open."""
    here = town()
    here.faults["hostile"] = ZeroDivisionError()
    here.minutes(["hostile", "victim"], 0, 1, 2, 3)
    assert here.told_of("victim") == [0, 1, 2]
    assert here.told_of("hostile") == []
    assert here.final("hostile") == here.final("victim") == [0, 1, 2]
    assert here.tester.dead_letters == []


@pytest.mark.parametrize("act", ["crash", "move", None])
def test_the_calls_are_made_once_the_fault_is_mended(town, act):
    """By the same process after a pause, or at once by the next owner of the partition; each once."""
    here = town()
    here.faults["hostile"] = ValueError("a bug")
    here.minutes(["hostile", "victim"], 0, 1, 2)
    if act is not None:
        here.act(act)
    assert here.told_of("hostile") == []
    first = next(window for window in here.seen if window.key["tenant_id"] == "hostile")
    here.faults.clear()
    if act is None:
        here.tester.advance(301)
    else:
        here.act(act)
    assert here.told_of("hostile")[:2] == [0, 1]
    again = [window for window in here.seen if window.start_ms == first.start_ms][-1]
    assert again == first, "the later call is given the same values"
    here.act("crash")
    here.minutes(["victim"], 9)
    assert here.told_of("victim").count(0) == here.told_of("hostile").count(0) == 1


def test_a_bad_record_of_the_callback_is_a_dead_letter(town):
    """It stopped the partition, as any other exception; a value that no topic holds is its tenant's."""
    here = town()
    here.faults["hostile"] = ValueRefused("too long")
    here.minutes(["hostile", "victim"], 0, 1, 2)
    assert here.told_of("victim") == [0, 1]
    assert here.told_of("hostile") == []
    assert [letter.code for letter in here.tester.dead_letters] == ["value_refused"] * 2
    rows = [row for row in here.tester.rows("dead_letters") if row["stage"] == "window"]
    assert {row["tenant"] for row in rows} == {"hostile"}


def test_calls_of_many_tenants_that_fail_at_once_stop_the_partition(town):
    """A bad deploy shows itself, and nothing of the commit is lost."""
    here = town(poison_min_records=4)
    tenants = [*"abcdefgh"]
    here.minutes(tenants, 0)
    here.faults.update(dict.fromkeys(tenants, ValueError("a bug")))
    with pytest.raises(NotAtRest, match="of many tenants"):
        here.tester.send(here.clicks, Click(tenant_id="a", ts=START_MS + 60_000))
    assert here.final("a") == []
    here.faults.clear()
    here.act("crash")
    assert [here.told_of(tenant) for tenant in tenants] == [[0]] * 8


def test_what_is_held_beyond_the_share_of_a_tenant_is_a_dead_letter(town):
    """Else calls that fail for days would fill the memory of all."""
    here = town(by=("tenant_id", "page"), max_table_bytes=1 << 20, max_ids=10_000)
    here.faults["hostile"] = ValueError("a bug")
    for minute in range(4):
        for number in range(6):
            try:
                here.tester.send(
                    here.clicks,
                    Click(
                        tenant_id="hostile",
                        page=str(number) + "x" * 20_000,
                        ts=START_MS + 60_000 * minute,
                    ),
                )
            except NotAtRest as held:
                assert "are held" in str(held)  # noqa: PT017 - as above
    codes = [letter.code for letter in here.tester.dead_letters]
    assert codes
    assert set(codes) == {"over_quota"}
    here.minutes(["victim"], 4, 5)
    assert here.told_of("victim") == [4]


def test_an_order_makes_dead_letters_of_held_calls(town):
    """An operator who cannot mend the code lets the tenant's windows go, and keeps what they held."""
    here = town()
    here.faults.update(hostile=ValueError("a bug"), other=ValueError("a bug"))
    here.minutes(["hostile", "other"], 0, 1, 2)
    order = CloseOrder(
        id="o", epoch=0, table="per_minute", tenant="hostile", before_ms=NOW_MS, untried=False, at_ms=NOW_MS,
        actor="eve", reason="bad rates",
    )  # fmt: skip

    async def give():
        group = here.app.group
        producer = here.tester._world.broker.transactional_producer(close_group(group))
        await producer.start()
        await write_close_orders(producer, group, {TopicPartition("clicks", 0): order})
        await producer.close()

    here.tester._run(give())
    here.tester.advance(10)
    letters = here.tester.dead_letters
    assert [letter.code for letter in letters] == ["window_dropped"] * 2
    assert "by order of eve: bad rates" in letters[0].message
    here.faults.clear()
    here.tester.advance(301)
    assert here.told_of("hostile") == []
    assert here.told_of("other") == [0, 1, 2]
