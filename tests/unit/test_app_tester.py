"""`streams.testing`: a user's apps with Faust's operations, on the real engine, crashed between two
lines.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import faust
import msgspec
import pytest

from streams.connect.broker.partitioner import partition_of
from streams.core.errors import TableMisused, UnsupportedByDia, UsageError
from streams.engine.app.app import App
from streams.testing import SETTINGS, AppTester, NotAtRest


class Order(msgspec.Struct):
    account: str
    amount: float


@pytest.fixture
def tested(app_tester):
    return app_tester


def _totals(**options):
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", **options)
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount

    return app


def test_a_table_survives_crashes_moves_and_rebalances(tested):
    """The five lines of a user's first test."""
    tester = tested(_totals())
    for act in (tester.crash, tester.move, tester.rebalance, lambda: tester.advance(60)):
        for account in ("a", "b", "c"):
            tester.send("orders", Order(account, 1.5))
        act()
    assert tester.table("totals") == dict.fromkeys("abc", 6.0)
    assert tester.dead_letters == []


def test_a_value_that_does_not_fit_the_topic_is_a_dead_letter(tested):
    """The dead letter has its code and its bytes, and the value is not counted."""
    tester = tested(_totals())
    tester.send("orders", {"account": "a", "amount": "much"}, key="a")
    (letter,) = tester.dead_letters
    assert (letter.topic, letter.code) == ("orders", "wrong_type")
    assert tester.table("totals") == {}


def _word_count():
    """An app like Faust's first example."""
    app = App("words")
    posts = app.topic("posts", value_type=str)
    counts = app.Table("counts", default=int)

    @app.agent(posts)
    async def split(stream):
        async for post in stream:
            for word in post.split():
                await count.send(key=word, value=word)

    @app.agent(value_type=str)
    async def count(words):
        async for word in words:
            counts[word] += 1

    return app


def test_words_are_counted_through_two_agents(tested):
    """The second agent has a topic of its own, which brings each word to one partition."""
    tester = tested(_word_count())
    tester.send("posts", "the quick brown fox", key="p1")
    tester.crash()
    tester.send("posts", "the lazy dog and the fox", key="p2")
    assert tester.table("counts") == {
        "the": 3, "quick": 1, "brown": 1, "fox": 2, "lazy": 1, "dog": 1, "and": 1,
    }  # fmt: skip


class Withdrawal(faust.Record, serializer="json"):
    user: str
    country: str
    amount: float
    date: str = ""


def test_a_faust_record_is_a_value_of_topics_and_tables(tested):
    """An app moves here with its types."""
    app = App("bank")
    withdrawals = app.topic("withdrawals", value_type=Withdrawal, key_field="user")
    last = app.Table("last", value_type=Withdrawal)
    big = app.topic("big", value_type=Withdrawal, key_field="user")

    @app.agent(withdrawals, sink=[big])
    async def watch(stream):
        async for withdrawal in stream.filter(lambda one: one.amount > 10):
            last[withdrawal.user] = withdrawal
            yield withdrawal

    tester = tested(app)
    for amount in (5.0, 20.0, 30.0):
        tester.send(withdrawals, Withdrawal(user="u", country="NO", amount=amount))
    tester.crash()
    tester.send(withdrawals, Withdrawal(user="u", country="SE", amount=40.0))
    assert tester.table(last)["u"] == Withdrawal(user="u", country="SE", amount=40.0)
    assert [sent.value["amount"] for sent in tester.outputs(big)] == [20.0, 30.0, 40.0]
    assert {sent.key for sent in tester.outputs(big)} == {"u"}
    tester.send(withdrawals, b'{"user": "u"}', key="u")
    assert [letter.code for letter in tester.dead_letters] != []


def test_events_are_counted_under_another_key(tested):
    """`group_by` brings all events of a country to one partition, each once."""
    app = App("bank")
    withdrawals = app.topic("withdrawals", value_type=Withdrawal, key_field="user", partitions=4)
    by_country = app.Table("by_country", default=float)

    @app.agent(withdrawals)
    async def track(stream):
        async for withdrawal in stream.group_by(Withdrawal.country):
            by_country[withdrawal.country] += withdrawal.amount

    tester = tested(app)
    countries = ("NO", "SE", "DK", "FI")
    for number in range(24):
        country = countries[number % 4]
        tester.send(withdrawals, Withdrawal(user=f"u{number % 7}", country=country, amount=2.0))
        if number % 9 == 4:
            tester.crash()
    assert tester.table(by_country) == dict.fromkeys(countries, 12.0)
    assert sorted(app.agents) == ["track", "track-group_by"]
    assert tester.dead_letters == []


class Visit(msgspec.Struct):
    user: str
    page: str
    ts: int


def test_an_event_that_waited_for_group_by_is_as_old_as_it_was(tested):
    """How long its agent was away, or waited, made the copy too old: a dead letter, which a replay refused
    again. Without `group_by` the event counts."""
    app = App("site")
    visits = app.topic("visits", value_type=Visit, key_field="user", time_field="ts")
    by_page = app.Table("by_page", default=int)

    async def after_a_while(visit):
        await asyncio.sleep(120)
        return True

    @app.agent(visits)
    async def track(stream):
        async for visit in stream.filter(after_a_while).group_by("page"):
            by_page[visit.page] += 1

    tester = tested(app, settings=replace(SETTINGS, late_max_s=60))
    tester.send(visits, Visit(user="u", page="p", ts=tester.now_ms))
    assert tester.dead_letters == []
    assert tester.table(by_page) == {"p": 1}


class Page(msgspec.Struct):
    page: str
    waits_s: int


def test_an_event_without_a_time_that_waited_for_group_by_is_in_an_open_window(tested):
    """By its first append its window was closed by the event of another partition: a dead letter, which a
    replay refused again."""
    app = App("site")
    visits = app.topic("visits", value_type=Page, partitions=4)
    by_page = app.Table("by_page", default=int).tumbling(10, expires=timedelta(seconds=5))

    async def after_a_while(visit):
        await asyncio.sleep(visit.waits_s)
        return True

    @app.agent(visits)
    async def track(stream):
        async for visit in stream.filter(after_a_while).group_by("page"):
            by_page[visit.page] += 1

    tester = tested(app)
    # One of the first partition, which waits while one of another partition comes and is counted.
    for key, waits_s in ((b"slow", 60), (b"other", 0)):
        tester._run(tester._append("visits", key, b'{"page":"p","waits_s":%d}' % waits_s, ()))
        tester._run(asyncio.sleep(30))
    tester.settle()
    assert partition_of(b"slow", 4) != partition_of(b"other", 4)
    assert tester.dead_letters == []


class Reading(msgspec.Struct):
    sensor: str
    at: float
    value: float


def _ten_seconds(app, closed):
    """Windows of 10 s by the readings' own time; ``closed`` is called with each."""
    table = app.Table("windows", default=list, on_window_close=closed)
    return table.tumbling(10, expires=timedelta(seconds=5)).relative_to_field("at")


def test_a_window_closes_once_and_sends_its_sum(tested):
    """Faust's windowed aggregation, with a crash before and after the close."""
    app = App("plant")
    readings = app.topic("readings", value_type=Reading, key_field="sensor")
    sums = app.topic("sums")

    def closed(key, values):
        sensor, (begin_s, _) = key
        sums.send_soon(key=sensor, value=[begin_s, sum(values)])

    windows = _ten_seconds(app, closed)

    @app.agent(readings)
    async def gather(stream):
        async for reading in stream:
            values = windows[reading.sensor].value()
            values.append(reading.value)
            windows[reading.sensor] = values

    tester = tested(app)
    for at, value in ((100, 1.0), (104, 2.0), (111, 4.0)):
        tester.send(readings, Reading("s", at, value))
    tester.crash()
    tester.send(readings, Reading("s", 116, 8.0))
    tester.move()
    tester.send(readings, Reading("s", 131, 16.0))
    assert [sent.value for sent in tester.outputs(sums)] == [[100.0, 3.0], [110.0, 12.0]]


def test_a_table_used_only_by_a_callback_belongs_to_its_agent(tested):
    """The callback's writes are in the transaction that removes the window."""
    app = App("plant")
    readings = app.topic("readings", value_type=Reading, key_field="sensor")
    closed_sums = app.Table("closed_sums", default=float)

    def closed(key, values):
        closed_sums[key[0]] += sum(values)

    windows = _ten_seconds(app, closed)

    @app.agent(readings)
    async def gather(stream):
        async for reading in stream:
            windows[reading.sensor] = [*windows[reading.sensor].value(), reading.value]

    tester = tested(app)
    for at, value in ((100, 1.0), (104, 2.0), (131, 16.0)):
        tester.send(readings, Reading("s", at, value))
    tester.crash()
    assert tester.table(closed_sums) == {"s": 3.0}


def test_a_table_that_the_agent_does_not_name_is_refused_with_a_remedy(tested):
    """Otherwise each event would be a dead letter `agent_failed`, with a KeyError of the table's
    name.
    """
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account")
    kept = SimpleNamespace(totals=app.Table("totals", default=float))

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            kept.totals[order.account] += order.amount

    tester = tested(app)
    with pytest.raises(NotAtRest, match=r"'totals'.* tables=\(\.\.\.\)"):
        tester.send(orders, Order("a", 1.0))


def test_a_table_of_sets_counts_members_once(tested):
    """`table[key].add` needs no assignment."""
    app = App("sets")
    orders = app.topic("orders", value_type=Order, key_field="account")
    seen = app.SetTable("seen")

    @app.agent(orders)
    async def collect(stream):
        async for order in stream:
            seen[order.account].add(int(order.amount))

    tester = tested(app)
    for amount in (1, 2, 2, 1):
        tester.send(orders, Order("a", amount))
    tester.crash()
    tester.send(orders, Order("a", 3))
    assert tester.table(seen) == {"a": {1, 2, 3}}


def test_hours_of_waiting_take_no_real_time(tested):
    """The clock jumps to the next timer."""
    app = App("slow")
    orders = app.topic("orders", value_type=Order, key_field="account")
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def slowly(stream):
        async for order in stream:
            await asyncio.sleep(250)
            totals[order.account] += order.amount

    tester = tested(app)
    before_ms = tester.now_ms
    for _ in range(3):
        tester.send(orders, Order("a", 1.0))
    assert tester.table(totals) == {"a": 3.0}
    assert tester.now_ms - before_ms >= 750_000


def test_tasks_timers_and_crontabs_send_beside_the_agents(tested):
    """Each runs at its time; one that raises ends neither the others nor itself."""
    app = App("beside")
    ticks = app.topic("ticks", partitions=1)

    @app.task
    async def once():
        await ticks.send(value="task")

    @app.timer(interval=60.0)
    async def often(app):
        await ticks.send(value=f"timer of {app.name}")
        raise ValueError("after the send")

    @app.crontab("30 * * * *")
    async def at_half():
        ticks.send_soon(value="cron")

    @app.agent(app.topic("orders", value_type=Order))
    async def nothing(stream):
        async for _ in stream:
            pass

    tester = tested(app, now_ms=1_760_005_560_000)  # 10:26:00
    tester.advance(150)
    said = [sent.value for sent in tester.outputs(ticks)]
    assert said == ["task", "timer of beside", "timer of beside"]
    tester.advance(300)
    assert [sent.value for sent in tester.outputs(ticks)].count("cron") == 1


def test_a_task_writes_no_table(tested):
    """A task has no partition."""
    app = _totals()
    (count,) = app.agents.values()
    (totals,) = count.owned
    raised = []

    @app.task
    async def write():
        try:
            totals["a"] += 1
        except TableMisused as error:
            raised.append(str(error))

    tested(app)
    assert "background task has no partition" in raised[0]


def test_a_stopped_partition_raises(tested):
    """A test of an app must not pass if the app would stop in production."""
    app = App("wrong")
    orders = app.topic("orders", value_type=Order, key_field="account")
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        totals["a"] = 0.0
        async for _order in stream:
            pass

    with pytest.raises(NotAtRest, match=r"stopped, table_misused: .*outside an event"):
        tested(app).send(orders, Order("a", 1.0))


def test_a_key_of_another_partition_is_a_dead_letter_that_names_the_remedy(tested):
    """A developer finds it in the first test that counts under another key."""
    app = App("wrong")
    orders = app.topic("orders", value_type=Order, key_field="account")
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        async for _order in stream:
            for key in range(64):
                totals[str(key)] += 1

    tester = tested(app)
    tester.send(orders, Order("a", 1.0))
    [letter] = tester.dead_letters
    assert letter.code == "key_refused"
    assert "group_by" in letter.message


async def test_a_tester_inside_a_running_loop_raises():
    """Two event loops in one thread cannot run."""
    with pytest.raises(UsageError, match="plain function"):
        AppTester(_totals())


def test_two_agents_with_one_table_are_refused():
    """The partitions of each topic have separate state: the second agent would not see the first
    one's writes.
    """
    app = _totals()
    returns = app.topic("returns", value_type=Order, key_field="account")
    (count,) = app.agents.values()
    (totals,) = count.owned

    @app.agent(returns)
    async def uncount(stream):
        async for order in stream:
            totals[order.account] -= order.amount

    with pytest.raises(UsageError, match=r"table 'totals'.*count.*uncount"):
        app.check()


@pytest.mark.parametrize(
    "word",
    ["LiveCheck", "channel", "stream"],
)  # fmt: skip
def test_an_absent_operation_names_its_replacement(word):
    """The import raises, instead of a later call."""
    with pytest.raises(UnsupportedByDia, match=word):
        getattr(App("acme"), word)("name")


def test_unsupported_arguments_are_refused():
    """A table or an agent that silently ignores an argument would be wrong."""
    app = App("acme")
    with pytest.raises(UnsupportedByDia, match="use_partitioner"):
        app.Table("t", use_partitioner=True)
    with pytest.raises(UnsupportedByDia, match="changelog_topic"):
        app.Table("t", changelog_topic="x")
    with pytest.raises(UnsupportedByDia, match="on_leader"):
        app.timer(1.0, on_leader=True)
    with pytest.raises(UsageError, match="no cron expression"):
        app.crontab("every day")
    with pytest.raises(UnsupportedByDia, match="concurrency"):
        app.agent(app.topic("orders"), concurrency=4)
    with pytest.raises(UsageError, match="no `async def`"):
        app.agent(app.topic("others"))(lambda stream: None)


def test_settings_of_faust_without_a_counterpart_are_accepted():
    """Users change only the import of an app; a setting with another meaning is refused."""
    app = App("acme", broker="kafka://localhost", store="rocksdb://", version=1, topic_partitions=8)
    orders = app.topic("orders", value_type=Order, key_type=str, retention=timedelta(days=1))
    assert (orders.partitions, orders.retention_ms) == (8, 86_400_000)
    with pytest.raises(UsageError, match="no argument 'brokr'"):
        App("acme", brokr="x")
    with pytest.raises(UsageError, match="no argument 'pattern'"):
        app.topic("others", pattern="x")
    with pytest.raises(UsageError, match="no codec 'pickle'"):
        app.topic("others", value_serializer="pickle")
    with pytest.raises(UnsupportedByDia, match="value_serializer='pickle'"):
        App("acme", value_serializer="pickle")


def test_an_answer_of_another_process_is_refused():
    """ask, map and join cannot be part of a transaction."""
    app = _totals()
    with pytest.raises(UnsupportedByDia, match="cast"):
        app.agents["count"].ask(Order("a", 1.0))
