"""A batch agent counts each of its events once: the ledger and the audit rest on it."""

from __future__ import annotations

import numpy as np
import pytest

from streams import App, Record
from streams.testing import NotAtRest


class Order(Record):
    account: str


def _send_two(app_tester, act):
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    app.batch_agent(orders, name="count")(act)
    tester = app_tester(app)
    tester.send(orders, Order(account="a"))
    tester.send(orders, Order(account="b"))
    return tester


def _nothing(batch, scope):
    """Most easily forgotten."""


def _twice(batch, scope):
    scope.count(applied=len(batch))
    scope.count(duplicates=len(batch))


def _a_letter_that_is_applied(batch, scope):
    scope.dead_letter(batch.row(0), "robot", "no account")
    scope.count(applied=len(batch))


def _two_letters_of_one_event(batch, scope):
    scope.dead_letter(batch.row(0), "robot", "no account")
    scope.dead_letter(batch.row(0), "robot", "no account")


@pytest.mark.parametrize(
    ("act", "counted"),
    [(_nothing, 0), (_twice, 2), (_a_letter_that_is_applied, 2), (_two_letters_of_one_event, 2)],
)
def test_another_number_than_the_events_stops_the_partition(app_tester, act, counted):
    """Nothing of the batch is committed; the ledger counted records as lost, or letters twice, for ever."""
    with pytest.raises(NotAtRest, match=f"agent_failed: agent count counted {counted} of the 1 ev"):
        _send_two(app_tester, act)


def test_two_letters_of_one_event_do_not_stand_for_another_event(app_tester):
    """The sum was right, and the second event was neither applied nor a dead letter: a position in ``events`` was given as
    the row in ``records``, where the first record is unreadable."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)

    @app.batch_agent(orders, name="count")
    def refuse(batch, scope):
        for index in range(len(batch)):
            scope.dead_letter(index, "robot", "no account")

    tester = app_tester(app)

    async def append():
        for value in (b"unreadable", b'{"account":"a"}'):
            await tester._append("orders", b"a", value, ())

    tester._run(append())
    said = (
        "counted 1 of the 1 events of orders/0 at offsets 0 to 1, 1 of them by another dead letter"
    )
    with pytest.raises(NotAtRest, match=said):
        tester.settle()


def test_a_number_of_a_column_counts(app_tester):
    """Sums of columns are numbers of numpy, which no link can hold: the partition stopped at its next commit."""
    [row] = _send_two(
        app_tester, lambda batch, scope: scope.count(applied=np.int64(len(batch)))
    ).rows("ledger")
    assert row["applied"] == 2


def test_a_negative_number_stops_the_partition(app_tester):
    """It would hide a record that is counted twice."""

    def act(batch, scope):
        scope.count(applied=len(batch) + 1, duplicates=-1)

    with pytest.raises(NotAtRest, match=r"agent_failed: .*takes no negative number: 2, -1"):
        _send_two(app_tester, act)


def test_each_event_counted_once_is_committed(app_tester):
    """Applied, a repeat, or a dead letter."""

    def act(batch, scope):
        for index, order in enumerate(batch.events):
            if order.account == "a":
                scope.dead_letter(batch.row(index), "robot", "no account")
            else:
                scope.count(duplicates=1)

    [row] = _send_two(app_tester, act).rows("ledger")
    assert (row["read"], row["applied"], row["duplicates"], row["dead"]) == (2, 0, 1, 1)
