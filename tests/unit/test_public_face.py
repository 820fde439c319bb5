"""The names of `import streams`: documented, typed for a user's package, and loaded lazily."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streams

PACKAGE = """
from streams import (
    SEEN_EVENTS, App, Codec, EventBatch, OutboundRecord, Record, Scope, Series, Topic, TopicPartition
)

app = App("acme")


class Order(Record):
    account: str
    note: str = ""
    amount: float


orders: Topic = app.topic("orders", value_type=Order, key_field="account", codec="msgpack")
totals = app.topic("totals", value_type=Order, key_field="account")


@app.batch_agent(orders, tables=(SEEN_EVENTS,))
def count(batch: EventBatch[Order], scope: Scope) -> None:
    for order in batch.events:
        amount: float = order.amount
        scope.send(totals, value=Order(account=order.account, amount=amount))
    scope.count(applied=len(batch))


def minutes(readings: Topic) -> str:
    agent = app.windows(
        "m1", of=readings, by=("tenant_id", "room", "sensor"), fold=Series("level"), size="60s",
        roll_ups=("1h", "1d"), late="reopen", ids="id",
    )
    return agent.name


codec: Codec = orders.codec
name: str = count.name
"""
WRONG = PACKAGE.replace("amount: float = order.amount", "amount: int = order.account")


@pytest.mark.parametrize("name", streams.__all__)
def test_every_name_is_documented(name):
    """Users see the documentation in their editor."""
    assert (getattr(streams, name).__doc__ or "").strip()
    assert name in dir(streams)


def test_an_unknown_name_is_an_attribute_error():
    """`hasattr` and `from streams import x` rely on it."""
    assert not hasattr(streams, "Nothing")


def test_importing_it_imports_no_engine():
    """Every `dia --help` imports it."""
    code = "import sys, streams; print('numpy' in sys.modules, 'streams.engine.app.app' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("source", "fits"), [(PACKAGE, True), (WRONG, False)], ids=["right", "wrong"]
)
def test_a_users_package_is_type_checked(type_check, source, fits):
    """In strict mode, from outside of the repository: py.typed exists, and the types are right."""
    assert type_check(source) == fits
