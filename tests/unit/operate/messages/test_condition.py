"""Conditions on fields, as an operator types them in a shell."""

from __future__ import annotations

import pytest

from streams.core.errors import UsageError
from streams.operate.messages.condition import Condition

EVENT = {
    "amount": 12.5,
    "account": "ada",
    "ok": True,
    "none": None,
    "items": [{"name": "red pen"}],
    "meta": {"region": "eu", "n": "12"},
}


@pytest.mark.parametrize(
    "text",
    [
        "amount > 10",
        "amount>=12.5",
        "$.amount < 13 and account == ada",
        'account == "ada"',
        "account != bob",
        "ok == true",
        "none == null",
        "items[0].name ~ pen",
        'items[0].name == "red pen"',
        "meta.region==eu",
        'meta.n == "12"',
        'account < "b"',
    ],
)
def test_a_condition_that_holds(text):
    """With and without blanks, $ and quotes."""
    assert Condition.parse(text).holds(EVENT)


@pytest.mark.parametrize(
    "text",
    [
        "amount > 12.5",
        "amount == 12.5 and account == bob",
        "ok == 1",
        "amount > ten",
        "items[1].name ~ pen",
        "items.name ~ pen",
        "absent != 3",
        "meta.n > 11",
        "none < 1",
    ],
)
def test_a_condition_that_does_not_hold(text):
    """Types do not mix: a text is not a number, true is not 1, and an absent field fulfils no
    condition.
    """
    assert not Condition.parse(text).holds(EVENT)


@pytest.mark.parametrize("event", [None, 3, "text", [], {}])
def test_a_condition_accepts_any_event(event):
    """A topic may hold any event."""
    assert not Condition.parse("a.b[2].c > 1 and d == 2").holds(event)


@pytest.mark.parametrize(
    "text", ["", "amount", "amount >", "> 3", "a == 1 or b == 2", "a == 1 and"]
)
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="--where"):
        Condition.parse(text)


@pytest.mark.parametrize(
    "text", ["items[-1].name == 1", "a..b == 1", "[0] != 1", "a.b[ == 1", "a[x] == 1", ". == 1"]
)
def test_a_path_that_is_none_is_refused(text):
    """Its readable parts were the path of another field, so nothing was found, or everything."""
    with pytest.raises(UsageError, match=r"is not the name of a field. .*name\[0\]"):
        Condition.parse(text)


def test_a_condition_is_bounded():
    with pytest.raises(UsageError, match="more than 1000"):
        Condition.parse("a == " + "1" * 2000)
