"""Event times: an invalid value costs only its own record."""

from __future__ import annotations

import json
from datetime import datetime
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import App, Count, Record
from streams.core.errors import UsageError
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode
from streams.engine.decode.event_times import FIRST_MS, LAST_MS, event_times

NOW_MS = 1_760_000_000_000
ANY_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3),
    st.integers(-(10**40), 10**40), st.datetimes(), st.lists(st.integers(), max_size=2),
    st.sampled_from([msgspec.UNSET, FIRST_MS, LAST_MS, LAST_MS + 1, FIRST_MS - 1, "9" * 5000]),
)  # fmt: skip


class Order(Record):
    account: str
    ts: Any = None


def _times(values):
    events = [SimpleNamespace(ts=value) for value in values]
    append_ms = np.full(len(values), NOW_MS, np.int64)
    times, wrong = event_times(attrgetter("ts"), "ts", events, append_ms)
    return times.tolist(), wrong


@given(values=st.lists(ANY_VALUE, max_size=6))
def test_a_time_is_judged_independently_of_its_batch(values):
    """The other records of a batch do not change the result."""
    times, wrong = _times(values)
    for row, value in enumerate(values):
        alone, alone_wrong = _times([value])
        assert times[row] == alone[0]
        assert wrong.get(row) == alone_wrong.get(0)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (2**63, "timestamp_in_future"),
        (10**40, "timestamp_in_future"),
        (-(2**63) - 1, "timestamp_too_old"),
        (1e300, "timestamp_in_future"),
        (-1e300, "timestamp_too_old"),
        (None, "missing_field"),
        ("soon", "wrong_type"),
        ([], "wrong_type"),
    ],
)
def test_an_invalid_time_is_a_dead_letter(value, code):
    """Its neighbours are decoded. A record that stops its partition would do so at each restart."""
    topic = App("acme").topic("orders", value_type=Order, key_field="account", time_field="ts")
    values = [json.dumps({"account": "a", "ts": ts}).encode() for ts in (NOW_MS, value, NOW_MS + 1)]
    batch = RecordBatch(
        TopicPartition("orders", 0), 0, 3, [0, 1, 2], [NOW_MS] * 3, [b"a"] * 3, values, [()] * 3
    )
    decoded = decode(topic, batch, Limits(300, 604_800))
    assert [(bad.position, bad.code, bad.path) for bad in decoded.bad] == [(1, code, "$.ts")]
    assert decoded.event_ms.tolist() == [NOW_MS, NOW_MS + 1]


@pytest.mark.parametrize("hint", [int, float, int | None, Any])
def test_a_time_field_may_be_a_number(hint):
    """The type may be optional or absent: the values are then checked one by one."""
    assert _declared(hint).time_field == "ts"


@pytest.mark.parametrize("hint", [datetime, str, bool, list[int], datetime | None])
def test_a_time_field_that_holds_no_number_is_refused(hint):
    """At the declaration, since no record of the topic could be read."""
    with pytest.raises(UsageError, match="time_field='ts'"):
        _declared(hint)


def _declared(hint):
    namespace = {"__annotations__": {"account": str, "ts": hint}, "__module__": __name__}
    return App("acme").topic(
        "orders", value_type=type("Timed", (Record,), namespace), time_field="ts"
    )


@pytest.mark.parametrize("note", [2**70, [-(2**64)], {"a": {"b": 2**64}}])
def test_an_integer_beyond_64_bits_is_compared_by_the_bytes_of_its_record(app_tester, note):
    """Windows with ids compare payloads: an integer that MessagePack cannot encode must not stop
    the partition.
    """

    class Noted(Record):
        id: str
        account: str
        ts: int
        note: Any = None

    app = App("acme")
    orders = app.topic(
        "orders", value_type=Noted, key_field="account", time_field="ts", partitions=1
    )
    app.windows("w1", of=orders, by=("account",), size=60, grace=0, ids="id", fold={"n": Count()})
    tester = app_tester(app, now_ms=NOW_MS)
    body = {"id": "1", "account": "a", "ts": NOW_MS, "note": note}
    for sent in (body, body, {**body, "note": 1}, {**body, "id": "2", "note": 1}):
        tester.send(orders, json.dumps(sent).encode(), key="a")
    assert [row["n"] for row in tester.rows("w1")] == [2]
    assert [letter.code for letter in tester.dead_letters] == ["idempotency_conflict"]
