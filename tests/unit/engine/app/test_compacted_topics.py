"""Compacted topics: the newest record of each key, sent in the transaction of its event."""

from __future__ import annotations

import pytest

from streams import App, Record
from streams.core.errors import UsageError
from streams.operate.topics.topics import wanted_topics


class Order(Record):
    account: str
    amount: float


def _app():
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=2)
    latest = app.topic("latest", partitions=2, compacting=True)
    return app, orders, latest


def test_the_topic_is_created_with_the_compact_policy():
    """The topic's configuration has `cleanup.policy=compact`."""
    app, _, _ = _app()
    config = {topic.name: topic.config for topic in wanted_topics(app.topology)}
    assert config["latest"]["cleanup.policy"] == "compact"
    assert config["latest"]["retention.ms"] == "-1"
    assert config["orders"]["cleanup.policy"] == "delete"
    assert config["latest.dlq"]["cleanup.policy"] == "delete"


def test_records_and_deletions_are_part_of_their_events(app_tester):
    """One value and one tombstone, through a crash."""
    app, orders, latest = _app()
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount
            value = totals[order.account] or None
            await latest.send(key=order.account, value=value)

    tester = app_tester(app)
    for amount in (2.0, 3.0, -5.0):
        tester.send(orders, Order(account="a", amount=amount))
        tester.crash()
    assert [(sent.key, sent.value) for sent in tester.outputs(latest)] == [
        ("a", 2.0),
        ("a", 5.0),
        ("a", None),
    ]


def test_a_record_without_a_key_dead_letters_its_event(app_tester):
    """Kafka refuses the record, and with it every commit that contains it."""
    app, orders, latest = _app()

    @app.agent(orders)
    async def tell(stream):
        async for order in stream:
            await latest.send(key=None if order.amount < 0 else order.account, value=order.amount)

    tester = app_tester(app)
    for amount in (1.0, -1.0, 2.0):
        tester.send(orders, Order(account="a", amount=amount))
    assert [letter.code for letter in tester.dead_letters] == ["value_refused"]
    assert [sent.value for sent in tester.outputs(latest)] == [1.0, 2.0]


def test_an_agent_on_a_compacted_topic_is_refused():
    """Compaction may remove records before an agent reads them."""
    app, _, latest = _app()
    with pytest.raises(UsageError, match="latest, which is compacted"):

        @app.agent(latest)
        async def read(stream):
            async for _ in stream:
                pass

    assert not app.agents
