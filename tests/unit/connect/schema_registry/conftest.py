"""An app with one topic that uses a schema registry."""

from __future__ import annotations

import pytest

from streams import App, Record


class Order(Record):
    account: str
    amount: float = 0.0


@pytest.fixture
def acme():
    app = App("acme")
    app.topic("orders", value_type=Order, key_field="account", codec="avro")
    return app
