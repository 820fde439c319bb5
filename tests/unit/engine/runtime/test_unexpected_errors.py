"""A bug of the engine that one partition meets costs that partition."""

from __future__ import annotations

import asyncio

from streams import App, Record
from streams.engine.runtime.partition.meters import PartitionMeters
from tests.unit.engine.runtime.running_world import HERE, THERE, counted, held, history, send, until


def test_a_bug_met_between_two_lists_stops_its_partition_and_no_other(monkeypatch):
    """Every worker that got the partition ended, and with it all of its partitions, one worker after another."""
    real = PartitionMeters.gauge

    def broken(self, partition, *figures):
        if partition.tp == HERE and partition.position:
            raise IndexError("a bug")
        real(self, partition, *figures)

    monkeypatch.setattr(PartitionMeters, "gauge", broken)

    async def story(world, process):
        await send(world, HERE, 3)
        await send(world, THERE, 3)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert held(process, HERE).stopped_by.code == "engine_failed"
        await send(world, THERE, 2)
        await until(lambda: counted(world, THERE) == 5)
        await asyncio.sleep(5.0)
        assert process.failure is None

    history(story)


class Order(Record):
    account: str
    amount: float = 0.0


def _send_together(tester, topic, amounts):
    """Append the orders without a pause, so that one list has them, and let the worker read them."""

    async def append():
        for amount in amounts:
            value = tester._client_value(topic, Order(account="a", amount=amount))
            await tester._append(topic.name, b"a", value, ())
        await asyncio.sleep(20)

    tester._run(append())


def test_a_list_that_fails_after_it_was_compared_with_the_log_is_sent_once(app_tester):
    """Another leader has a list compared between two commits: the commit that followed held what the agent had sent before
    it raised, and the next worker folded the list again.
    """
    app, bugs = App("acme"), [KeyError("a bug")]
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    out = app.topic("out", value_type=Order, key_field="account", partitions=1)

    @app.batch_agent(orders)
    def repeat(batch, scope):
        for order in batch.events:
            if order.amount < 0 and bugs:
                raise bugs.pop()
            scope.send(out, value=order)
        scope.count(applied=len(batch))

    tester = app_tester(app)
    tester.send(orders, Order(account="a", amount=1.0))
    [held] = tester._process.worker.groups[0].partitions.values()
    tester._world.broker.log(held.tp).elect()
    _send_together(tester, orders, [2.0, -3.0])
    assert (held.phase, held.stopped_by.code) == ("stopped", "agent_failed")
    tester.crash()
    tester.settle()
    assert [sent.value["amount"] for sent in tester.outputs(out)] == [1.0, 2.0, -3.0]
