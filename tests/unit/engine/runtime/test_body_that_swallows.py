"""An agent body that catches the error of a value that cannot be encoded, and asks for the next
event.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from streams.engine.app.app import App


class Order(msgspec.Struct):
    account: str
    amount: float


def _written(order):
    """The table cannot encode a bare object; this is found when the event completes, not when it
    changes.
    """
    return object() if order.amount < 0 else order.amount


def _app(body):
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account")
    app.agent(orders)(body(app.Table("seen", default=list)))
    return app


def _looping(asked):
    def body(seen):
        async def count(stream):
            while True:
                try:
                    async for order in stream:
                        asked.append(order.account)
                        seen[order.account].append(_written(order))
                except Exception:  # noqa: BLE001 - what a user may write
                    asked.append("caught")
                    if len(asked) > 1000:
                        raise SystemExit("the body spins") from None

        return count

    return body


def test_an_event_that_cannot_be_encoded_is_refused_though_its_body_goes_on(app_tester):
    """Without the limit the body would loop in one turn of the event loop, and heartbeats and
    commits would stop.
    """
    asked: list[str] = []
    tester = app_tester(_app(_looping(asked)))
    tester.send("orders", Order("a", -1.0))
    tester.send("orders", Order("a", 2.0))
    (letter,) = tester.dead_letters
    assert letter.code == "value_refused"
    assert tester.table("seen") == {"a": [2.0]}
    assert asked.count("caught") == 1


def test_a_body_that_catches_its_cancellation_gets_one_turn_a_second(app_tester):
    """Between two turns the event loop is free, and the body gets no further event."""
    at_s: list[float] = []

    def body(seen):
        async def count(stream):
            while len(at_s) < 5:
                try:
                    async for order in stream:
                        seen[order.account].append(_written(order))
                except BaseException:  # noqa: BLE001 - what a user may write
                    at_s.append(asyncio.get_running_loop().time())
            async for order in stream:
                seen[order.account].append(_written(order))

        return count

    tester = app_tester(_app(body))
    tester.send("orders", Order("a", -1.0))
    tester.send("orders", Order("a", 2.0))
    (letter,) = tester.dead_letters
    assert letter.code == "value_refused"
    assert tester.table("seen") == {"a": [2.0]}
    assert [round(then - at_s[0]) for then in at_s] == [0, 1, 2, 3, 4]


def test_a_body_that_ends_after_the_error_has_not_handled_the_event(app_tester):
    """A silent return does not handle a value that cannot be encoded."""

    def body(seen):
        async def count(stream):
            try:
                async for order in stream:
                    seen[order.account].append(_written(order))
            except Exception:  # noqa: BLE001 - what a user may write
                return

        return count

    tester = app_tester(_app(body))
    tester.send("orders", Order("a", -1.0))
    tester.send("orders", Order("b", 2.0))
    assert [letter.code for letter in tester.dead_letters] == ["value_refused"]
    assert tester.table("seen") == {"b": [2.0]}


@pytest.mark.parametrize("shape", ["events", "take"])
def test_every_way_to_read_the_stream_is_bounded(app_tester, shape):
    """`take` gives the events of its list again one at a time, so the valid one counts."""
    caught: list[int] = []

    def body(seen):
        async def count(stream):
            while True:
                asking = stream.take(2, within=1) if shape == "take" else stream.events()
                try:
                    async for found in asking:
                        for order in found if shape == "take" else [found.value]:
                            seen[order.account].append(_written(order))
                except Exception:  # noqa: BLE001 - what a user may write
                    caught.append(1)
                    if len(caught) > 1000:
                        raise asyncio.CancelledError("the body spins") from None

        return count

    tester = app_tester(_app(body))
    tester.send("orders", Order("a", -1.0))
    tester.send("orders", Order("a", 2.0))
    tester.advance(5)
    assert [letter.code for letter in tester.dead_letters] == ["value_refused"]
    assert tester.table("seen") == {"a": [2.0]}
    assert len(caught) < 10
