"""Registration rules of an app, and the names derived from the app's name."""

from __future__ import annotations

import msgspec
import pytest

from agents.app import app as built_in
from streams import Count
from streams.core.errors import UsageError
from streams.engine.app.app import App
from streams.engine.engine_tables import SEEN_EVENTS


class Order(msgspec.Struct):
    account: str
    amount: float
    ts: int


class ThingWithoutTag(msgspec.Struct):
    size: int


def _orders(app: App, name: str = "orders"):
    return app.topic(name, value_type=Order, key_field="account", time_field="ts")


async def _stream(stream) -> None:
    async for _ in stream:
        pass


def _count(batch, scope) -> None:
    """An agent without effects."""


def test_every_name_follows_from_the_apps_own():
    """With shared names, two apps on one cluster fence each other's producers."""
    app = App("acme")
    orders = _orders(app)
    agent = app.batch_agent(orders)(_count)
    assert (agent.name, agent.group) == ("_count", "acme-group")
    assert app.topology.companions(orders) == (
        "orders.dlq",
        "orders.dlq.parked",
        "acme.acme-replay.orders.changelog",
        "acme.acme-group.orders.changelog",
    )
    topology = app.topology
    assert (topology.replay_group, topology.leader_group) == ("acme-replay", "acme-leader")
    assert topology.schedule_topic == "acme.schedule"


def test_the_built_in_app_has_the_names_of_its_contract():
    """Existing installations find their state and offsets by these names."""
    topology = built_in.topology
    assert {(read.group, read.topic) for read in topology.read} == {
        ("dia-group", "model.metrics"),
        ("dia-group", "train.results"),
        ("dia-simulator-group", "decision.simulation.request"),
    }
    assert list(topology.by_name) == [
        "model.metrics",
        "decision.simulation.request",
        "decision.simulation.result",
        "train.results",
    ]
    metrics = topology.topic("model.metrics")
    assert metrics.changelog("dia-group") == "dia.dia-group.model.metrics.changelog"
    assert (topology.replay_group, topology.leader_group, topology.schedule_topic) == (
        "dia-replay",
        "dia-leader",
        "dia.schedule",
    )


@pytest.mark.parametrize("name", ["", "a.b", "-a", "a b", "a" * 65, "a/b"])
def test_an_app_whose_name_makes_no_valid_group_name_is_refused(name):
    """Kafka refuses such topic names only when the topics are created."""
    with pytest.raises(UsageError, match="an app cannot be called"):
        App(name)


def _two_topics(app: App) -> None:
    _orders(app)
    _orders(app)


def _a_companions_name(app: App) -> None:
    _orders(app, "orders.dlq")


def _no_kafka_name(app: App) -> None:
    _orders(app, "orders!")


def _no_type(app: App) -> None:
    app.topic("orders", key_field="account", time_field="ts")


def _an_undeclared_topic(app: App) -> None:
    app.batch_agent(_orders(App("other")))(_count)


def _two_agents(app: App) -> None:
    app.batch_agent(_orders(app))(_count)
    app.batch_agent(_orders(app, "more"))(_count)


def _two_agents_on_one_topic(app: App) -> None:
    orders = _orders(app)
    app.batch_agent(orders)(_count)
    app.batch_agent(orders, name="again")(_count)


def _anothers_group(app: App) -> None:
    app.batch_agent(_orders(app), group="dia-group")(_count)


def _the_engines_group(app: App) -> None:
    app.batch_agent(_orders(app), group="acme-replay")(_count)


def _no_such_field(app: App) -> None:
    app.topic("orders", value_type=Order, key_field="acount")


def _no_first_version(app: App) -> None:
    app.topic("orders", versions={2: Order}, key_field="account")


def _no_such_codec(app: App) -> None:
    app.topic("orders", value_type=Order, codec="yaml")


def _no_codec_at_all(app: App) -> None:
    app.topic("orders", value_type=Order, codec=7)


def _structs_as_raw_bytes(app: App) -> None:
    app.topic("orders", value_type=Order, codec="raw")


def _no_type_to_decode(app: App) -> None:
    app.topic("orders", value_type=Order | ThingWithoutTag)


def _two_tables(app: App) -> None:
    app.batch_agent(_orders(app), tables=(SEEN_EVENTS, SEEN_EVENTS))(_count)


def _an_agent_on_a_name(app: App) -> None:
    app.agent("orders")(_stream)


def _an_agent_without_parentheses(app: App) -> None:
    app.agent(_stream)


def _a_batch_agent_on_a_name(app: App) -> None:
    app.batch_agent("orders")(_count)


def _windows_of_a_name(app: App) -> None:
    app.windows("per_minute", of="orders", by=("account",), size=60, fold={"n": Count()})


def _a_timer_without_parentheses(app: App) -> None:
    app.timer(_stream)


def _a_page_without_parentheses(app: App) -> None:
    app.page(_stream)


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (_an_agent_on_a_name, "declare orders with app.topic('orders', ...), and give what it re"),
        (_an_agent_without_parentheses, "write @app.agent(TOPIC), with parentheses"),
        (_a_batch_agent_on_a_name, "@app.batch_agent takes a topic, and 'orders' is a str"),
        (_windows_of_a_name, "app.windows takes a topic, and 'orders' is a str"),
        (_a_timer_without_parentheses, "@app.timer takes an interval in seconds"),
        (_a_page_without_parentheses, "@app.page takes a path"),
        (_two_topics, "two topics named orders"),
        (_a_companions_name, "none of the endings .dlq"),
        (_no_kafka_name, "cannot be called 'orders!'"),
        (_no_type, "has no field 'account'"),
        (_an_undeclared_topic, "which app acme does not declare"),
        (_two_agents, "two agents named _count"),
        (_two_agents_on_one_topic, "which has one topic for dead letters"),
        (_anothers_group, "begin with 'acme'"),
        (_the_engines_group, "the engine's own"),
        (_no_such_field, "has no field 'acount'. Name one of account, amount, ts"),
        (_no_first_version, "versions needs it"),
        (_no_such_codec, "there is no codec 'yaml'. Name one of json, msgpack, raw"),
        (_no_codec_at_all, "7 is no codec"),
        (_structs_as_raw_bytes, "declare the topic with value_type=bytes"),
        (_no_type_to_decode, "the codec json cannot read its type"),
        (_two_tables, "names the table seen_events twice"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_sentence(declare, said):
    """The import fails before anything is created in the cluster."""
    app = App("acme")
    with pytest.raises(UsageError) as refused:
        declare(app)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def _tables_of_one_name(app: App):
    return app.Table("totals", default=int), app.Table("totals", default=float)


def _a_table_and_its_windows(app: App):
    totals = app.Table("totals", default=int)
    return totals, totals.tumbling(60)


@pytest.mark.parametrize("declare", [_tables_of_one_name, _a_table_and_its_windows])
def test_two_tables_of_one_name_in_an_agent_are_refused(declare):
    """They would be one table, with the values of both."""
    app = App("acme")
    one, other = declare(app)

    @app.agent(_orders(app))
    async def count(stream):
        async for order in stream:
            one[order.account] += 1
            other[order.account] += 1

    with pytest.raises(UsageError, match="agent count uses two tables named 'totals'"):
        app.check()


def test_windows_relative_to_another_time_are_the_same_table():
    """They read it differently, and share its state."""
    app = App("acme")
    table = app.Table("totals", default=int).tumbling(60)
    latest = table.relative_to_now()

    @app.agent(_orders(app))
    async def count(stream):
        async for order in stream:
            table[order.account] += latest[order.account].value()

    app.check()
    assert [one.name for one in count.owned] == ["totals"]


def test_an_agent_may_name_a_table_that_is_declared_below_it(app_tester):
    """In Python a function may; the worker stopped at the first event."""
    app = App("acme")
    orders = _orders(app)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += 1

    totals = app.Table("totals", default=int)
    tester = app_tester(app)
    tester.send(orders, Order(account="a", amount=1.0, ts=tester.now_ms))
    assert tester.table("totals") == {"a": 1}


def test_a_refused_declaration_is_not_registered():
    """After the error the app is unchanged, so a test that catches it can go on."""
    app = App("acme")
    with pytest.raises(UsageError):
        _two_agents_on_one_topic(app)
    assert list(app.agents) == ["_count"]


def test_agents_are_chosen_by_name():
    """`dia worker --agents` divides an app between processes."""
    app = App("acme")
    app.batch_agent(_orders(app))(_count)
    app.batch_agent(_orders(app, "more"), name="again", group="acme-again")(_count)
    assert [agent.name for agent in app.chosen("again, _count")] == ["again", "_count"]
    assert [agent.name for agent in app.chosen("all")] == ["_count", "again"]
    with pytest.raises(UsageError, match="no agent nobody"):
        app.chosen("nobody")


def test_a_job_agent_does_not_answer_by_a_schema_registry():
    """The answer is encoded when the job ends, at a point that cannot wait for a schema."""
    app = App("acme")
    asked, told = _orders(app), app.topic("told", value_type=Order, codec="avro")
    with pytest.raises(UsageError, match="an answer cannot wait"):
        app.job_agent(asked, name="work", results=told, ask=_count, answer=_count, performer=_count)
    assert not app.agents
