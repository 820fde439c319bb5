"""Traces of one event, on the engine in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.app import app as built_in
from streams import App, Count, Record, Sum
from streams.core.errors import DependencyUnreachable, UsageError
from streams.core.records import headers
from streams.core.types import CommittedOffset, TopicPartition
from streams.operate.trace.judging import JUDGING_S
from streams.operate.trace.verdict import Fate
from streams.testing import SETTINGS, AppTester
from tests.traced import traced

HOUR_MS = 3_600_000


class Order(Record):
    id: str
    account: str
    amount: float
    ts: int


app = App("shop")
orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts", partitions=2)
app.windows(
    "sales",
    of=orders,
    by=("account",),
    size="1m",
    grace="30s",
    fold={"n": Count(), "total": Sum("amount")},
    ids="id",
)
FORGETFUL = replace(SETTINGS, dedupe_ttl_s=60, idle_close_s=86_400)


@pytest.fixture
def tester():
    with AppTester(app) as made:
        yield made


def order(tester, name="o-1", account="ada", amount=2.0, ago_s=0):
    return Order(id=name, account=account, amount=amount, ts=tester.now_ms - ago_s * 1000)


def fates(report):
    return [(one.record.offset, one.verdict.fate, one.verdict.first) for one in report.records]


def test_a_counted_event_is_followed_to_its_window(tester):
    """No table shows an operator which window holds an event."""
    sent = order(tester)
    tester.send(orders, sent)
    tester.send(orders, order(tester, "o-2", amount=3.0))
    tester.advance(2)
    report = traced(tester, "o-1")
    [one] = report.records
    assert (one.record.found_by, one.verdict.fate, one.doubts) == (("id",), Fate.COUNTED, [])
    assert one.record.fields["amount"] == 2.0
    assert one.link is not None
    assert one.link.covers(one.record.offset)
    assert one.committed > one.record.offset
    [window] = one.windows
    assert (window.table, window.names, window.late, window.stored) == (
        *("sales", {"account": "ada"}, False, True),
    )
    assert window.start_ms <= sent.ts < window.end_ms
    assert (window.rows[0]["n"], window.rows[0]["total"]) == (2, 5.0)
    assert report.outcome == f"counted: {one.record.place}"
    assert report.whole


def test_repeats_name_the_record_that_counted(tester):
    """A client that sent an event twice sees which record was counted."""
    sent = order(tester)
    for _ in range(3):
        tester.send(orders, sent)
    told: list[str] = []
    report = traced(tester, "o-1", found_at=told.append)
    assert told == [one.record.place for one in report.records], "each as soon as it is found"
    first = report.records[0].record.offset
    assert [fate for _, fate, _ in fates(report)] == [Fate.COUNTED, Fate.DUPLICATE, Fate.DUPLICATE]
    assert [one.verdict.first for one in report.records] == [None, first, first]


def test_an_id_within_another_does_not_match(tester):
    """The search finds candidates by bytes and decides by fields."""
    tester.send(orders, order(tester, "o-10"))
    assert not traced(tester, "o-1").found
    assert traced(tester, "o-10").found


def test_an_id_of_another_tenant_or_text_with_escapes_is_found(tester):
    """JSON writers may escape characters of an id."""
    name = 'é"/\\x'
    tester.send(orders, order(tester, name))
    tester.send(orders, b'{"id":"\\u00e9\\"\\/\\\\x","account":"ada","amount":1,"ts":0}', key="ada")
    report = traced(tester, name)
    assert next(one.verdict.fate for one in report.records) is Fate.COUNTED


def test_a_dead_letter_has_its_code_and_state(tester):
    """An event that conflicts with an earlier payload is not a duplicate."""
    tester.send(orders, order(tester))
    tester.send(orders, order(tester, amount=9.0))
    report = traced(tester, "o-1")
    first, second = report.records
    assert (first.verdict.fate, second.verdict.fate) == (Fate.COUNTED, Fate.DEAD_LETTER)
    assert second.verdict.code == "idempotency_conflict"
    [letter] = second.letters
    assert (letter.letter.error_code, letter.state) == ("idempotency_conflict", "open")


def test_bytes_that_no_codec_reads_are_found_in_source_and_queue(tester):
    """Users search first for records that never became an event."""
    tester.send(orders, b'{"id":"o-1","account":', key="ada")
    report = traced(tester, "o-1")
    [one] = report.records
    assert (one.record.found_by, one.record.fields) == (("bytes",), None)
    assert (one.verdict.fate, one.verdict.code) == (Fate.DEAD_LETTER, "invalid_json")
    assert report.outcome.startswith("dead letter invalid_json of orders/")


def test_a_late_record_is_a_dead_letter_of_its_window(tester):
    tester.send(orders, order(tester, "o-9"))
    tester.send(orders, order(tester, "o-1", ago_s=600))
    [one] = traced(tester, "o-1").records
    assert (one.verdict.fate, one.verdict.code) == (Fate.DEAD_LETTER, "window_closed")


def test_an_offset_leads_to_the_event_and_its_repeats(tester):
    """Logs and dead letters contain offsets, not ids."""
    sent = order(tester)
    tester.send(orders, sent)
    tester.send(orders, sent)
    places = [one.record.place for one in traced(tester, "o-1").records]
    report = traced(tester, places[1])
    assert [one.record.place for one in report.records] == places
    assert fates(report)[1][1:] == (Fate.DUPLICATE, report.records[0].record.offset)
    assert [one.record.found_by for one in report.records] == [("identity",), ("place",)]


def test_a_copy_found_by_its_plan_is_a_repeat_of_one_under_another(tester):
    """The copy of an earlier plan lacks the text that is searched, and it was the one that counted."""
    value = orders.codec.encode(order(tester))
    for plan in (b"plan-1", b"plan-2"):
        named = ((headers.REPLAY_PLAN, plan),)
        tester._run(tester._append("orders", b"ada", value, named))
    tester.settle()
    report = traced(tester, "plan-2")
    assert [fate for _, fate, _ in fates(report)] == [Fate.COUNTED, Fate.DUPLICATE]
    assert [one.record.found_by for one in report.records] == [
        ("identity",),
        (headers.REPLAY_PLAN,),
    ]


@pytest.mark.parametrize("place", ["orders/0/99", "orders/7/0"])
def test_an_offset_outside_the_log_gives_the_range_of_the_log(tester, place):
    report = traced(tester, place)
    assert not report.found
    assert report.notes


def test_a_record_after_the_committed_offset_is_not_read_yet(tester):
    """An unread event must not be reported as lost."""
    tester.send(orders, order(tester, "o-0"))
    tester._run(tester._process.kill())
    tester._run(tester._append("orders", b"ada", b'{"id":"o-1"', ()))
    [one] = traced(tester, "o-1").records
    assert one.verdict.fate is Fate.UNREAD
    assert not one.windows


def test_the_first_record_of_a_trimmed_log_may_be_a_duplicate(tester):
    """A duplicate of a deleted record looks like a first one."""
    sent = order(tester)
    tester.send(orders, sent)
    tester.send(orders, sent)
    _, second = traced(tester, "o-1").records
    tester._world.broker.log(second.record.tp).trim(second.record.offset)
    [one] = traced(tester, "o-1").records
    assert one.record.offset == second.record.offset
    assert any("begins at offset" in doubt for doubt in one.doubts)


def test_shards_that_do_not_answer_are_unknown_and_not_absent(tester):
    tester.send(orders, order(tester))
    report = traced(tester, "o-1", away=DependencyUnreachable("shard 1 is away"))
    [one] = report.records
    assert one.verdict.fate is Fate.COUNTED
    assert not one.windows
    assert any("shard 1 is away" in doubt for doubt in one.doubts)


def test_the_first_record_is_found_despite_a_bound_in_time(tester):
    """A trace of the last minute must not report a repeat as counted."""
    from streams.operate.trace.log_scan import TimeBounds

    sent = order(tester)
    tester.send(orders, sent)
    tester.advance(30)
    since_ms = tester.now_ms
    tester.send(orders, sent)
    report = traced(tester, "o-1", times=TimeBounds(since_ms))
    assert [fate for _, fate, _ in fates(report)] == [Fate.COUNTED, Fate.DUPLICATE]


def chain(tester):
    """One event every 40 s, whose id is remembered for 60 s; the place of each copy."""
    sent = order(tester)
    for _ in range(4):
        tester.send(orders, sent, key="ada")
        tester.advance(40)
    return [one.record.place for one in traced(tester, "o-1").records]


def test_a_place_in_a_chain_of_repeats_has_the_verdict_of_the_whole_chain():
    """The repeat before it repeats a record out of the TTL: the trace called a counted record a duplicate."""
    with AppTester(app, settings=FORGETFUL) as tester:
        places = chain(tester)
        whole = fates(traced(tester, "o-1"))
        assert [fate for _, fate, _ in whole] == 2 * [Fate.COUNTED, Fate.DUPLICATE]
        for place, verdict in zip(places, whole, strict=True):
            report = traced(tester, place)
            assert verdict in fates(report)
            assert all(not one.doubts for one in report.records)


def test_a_duplicate_of_a_doubtful_first_record_is_doubtful_too():
    """Where the log begins, the records behind it may change places."""
    with AppTester(app, settings=FORGETFUL) as tester:
        first, *_ = chain(tester)
        tp = TopicPartition("orders", int(first.split("/")[1]))
        tester._world.broker.log(tp).trim(1)
        counted, duplicate, _ = traced(tester, "o-1").records
        assert (duplicate.verdict.fate, duplicate.verdict.first) == (Fate.DUPLICATE, 1)
        assert duplicate.doubts == counted.doubts != []


def test_a_key_bounds_the_search_to_its_partition(tester):
    tester.send(orders, order(tester))
    report = traced(tester, "o-1", key=b"ada")
    assert report.found
    assert len([one for one in report.searched if one.tp.topic == "orders"]) == 1


def test_a_search_that_ends_early_is_incomplete(tester):
    """Otherwise "not found" would cover unread records."""
    tester.send(orders, order(tester))
    report = traced(tester, "o-1", deadline_s=0.0)
    assert (report.found, report.whole, report.late) == (False, False, True)


def test_a_verdict_does_not_wait_for_rows_that_never_come(tester):
    """With a hanging shard, a trace of 15 s took minutes; a browser had nothing, also not the verdict."""
    tester.send(orders, order(tester))
    place = traced(tester, "o-1").records[0].record.place
    report = traced(tester, place, silent=True, deadline_s=-JUDGING_S)
    [one] = report.records
    assert one.verdict.fate is Fate.COUNTED
    assert "not all looked up in time" in one.doubts[-1]


def test_further_matches_are_counted(tester):
    for number in range(4):
        tester.send(orders, order(tester, f"o-{number}"))
    report = traced(tester, "ada", finds_max=2)
    assert (len(report.records), report.more) == (2, True)


def test_an_unreadable_batch_is_named(tester):
    tester.send(orders, order(tester, "o-0"))
    [found] = traced(tester, "o-0").records
    tester._world.broker.log(found.record.tp).spoil(found.record.offset, found.record.offset + 1)
    report = traced(tester, "o-0")
    assert not report.found
    assert not report.whole
    [part] = [one for one in report.searched if one.unreadable]
    assert part.unreadable == [(found.record.offset, found.record.offset + 1)]


@pytest.mark.parametrize("text", ["", "x" * 2000])
def test_text_without_bounds_is_refused(tester, text):
    with pytest.raises(UsageError):
        traced(tester, text)


def test_an_owner_sees_its_own_records_only():
    """A tenant that guesses an id must not see another tenant's record."""
    with AppTester(built_in, settings=SETTINGS) as tester:
        value = {
            "tenant_id": "acme", "model_id": "m", "metric": "auc", "event_id": "e-1",
            "value": 0.5, "ts": tester.now_ms,
        }  # fmt: skip
        tester.send("model.metrics", value, key="acme")
        tester.advance(5)
        report = traced(tester, "e-1")
        [one] = report.records
        assert one.verdict.fate is Fate.COUNTED
        [window] = one.windows
        assert (window.table, window.rows[0]["count"], window.stored) == ("m1", 1, True)
        assert traced(tester, "e-1", owner="acme").found
        assert not traced(tester, "e-1", owner="other").found
        assert traced(tester, "e-1", tenant="acme").found
        assert not traced(tester, "e-1", tenant="other").found


class Visit(Record):
    id: str
    tenant_id: int | None
    site: str
    ts: int


def test_a_tenant_that_is_a_number_finds_its_records_and_letters():
    """They were "not found", as if the events named no tenant. None is no tenant called None."""
    sites = App("sites")
    visits = sites.topic("visits", value_type=Visit, key_field="site", time_field="ts")
    sites.windows("per_site", of=visits, by=("site",), size="1m", fold={"n": Count()}, ids="id")
    with AppTester(sites) as tester:
        for tenant, late_s in ((7, 0), (7, 600), (None, 0)):
            ts = tester.now_ms - 1000 * late_s
            tester.send(visits, Visit(id="v-1", tenant_id=tenant, site="a", ts=ts))
        for bounds in ({"tenant": "7"}, {"owner": "7"}):
            first, late = traced(tester, "v-1", **bounds).records
            assert (first.verdict.fate, late.verdict.code) == (Fate.COUNTED, "window_closed")
            assert [one.letter.tenant for one in late.letters] == ["7"]
        assert not traced(tester, "v-1", tenant="None").found
        assert not traced(tester, "v-1", owner="8").found


def test_a_window_of_several_tenants_shows_its_owner_no_figures():
    """The key of such a window names no tenant, so its figures count the events of others too."""
    sites = App("sites")
    visits = sites.topic("visits", value_type=Visit, key_field="site", time_field="ts")
    sites.windows("per_site", of=visits, by=("site",), size="1m", fold={"n": Count()}, ids="id")
    with AppTester(sites) as tester:
        for tenant, name in ((7, "v-1"), (8, "v-2")):
            tester.send(visits, Visit(id=name, tenant_id=tenant, site="a", ts=tester.now_ms))
        tester.advance(2)
        [every] = traced(tester, "v-1").records[0].windows
        [own] = traced(tester, "v-1", owner="7").records[0].windows
        assert [row["n"] for row in every.rows] == [2]
        assert (own.rows, own.stored) == ((), True)


class Payment(Record):
    id: int
    account: str
    ts: int


def test_the_letter_of_an_id_that_is_a_number_outlives_its_record():
    """Retention deletes sources before DLQs: the dead letter was "not found", as its id has no quotes."""
    bank = App("bank")
    paid = bank.topic("paid", value_type=Payment, key_field="account", time_field="ts")
    bank.windows("per_account", of=paid, by=("account",), size="1m", fold={"n": Count()}, ids="id")
    with AppTester(bank) as tester:
        for ago_s in (0, 600):
            ts = tester.now_ms - ago_s * 1000
            tester.send(paid, Payment(id=4711 + ago_s, account="a", ts=ts))
        [one] = traced(tester, "5311").records
        tester._world.broker.log(one.record.tp).trim(2)
        report = traced(tester, "5311")
        assert [found.letter.error_code for found in report.letters] == ["window_closed"]
        assert not traced(tester, "531").found


def test_an_offset_that_was_moved_by_hand_is_a_doubt(tester):
    """The state holds the offset where the partition resumes, so the group's offset proves nothing
    here.
    """
    tester.send(orders, order(tester))
    [one] = traced(tester, "o-1").records
    assert one.doubts == []
    tester._run(tester._process.kill())
    moved = {one.record.tp: CommittedOffset(0, "")}
    tester._world.broker._cluster.commit_offsets(one.group, moved)
    [again] = traced(tester, "o-1").records
    assert again.verdict.fate is Fate.UNREAD
    assert any("another program" in doubt for doubt in again.doubts)


def test_a_trace_joins_no_group_and_writes_nothing(tester):
    """A trace must be safe on a production pipeline."""
    tester.send(orders, order(tester))
    broker = tester._world.broker
    ends = {tp: broker.log(tp).high_watermark for tp in broker.partitions()}
    traced(tester, "o-1")
    assert {tp: broker.log(tp).high_watermark for tp in broker.partitions()} == ends
    assert TopicPartition("orders", 0) in ends
