"""`dia topics tail` and `search`: what they say of what they did not show, and the exit code."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.log import LogEntry
from streams.core.clock import SystemClock
from streams.core.types import TopicConfig, TopicPartition

LOG = TopicPartition("numbers", 0)
SEARCH = ("topics", "search", LOG.topic, "--json")
TAIL = ("topics", "tail", LOG.topic, "--no-follow", "--json")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> MemoryBroker:
    """A topic with ten numbers."""
    made = MemoryBroker(SystemClock())

    async def create() -> None:
        admin = await made.admin()
        await admin.create_topics([TopicConfig(LOG.topic, 1, 1, {})])

    asyncio.run(create())
    for number in range(10):
        value = b'{"n":%d}' % number
        made.log(LOG).append(LogEntry(1_760_000_000_000 + number, None, value, ()))
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    return made


def told(capsys, args, code=0):
    """The numbers that a command shows, and the messages beside them."""
    assert main([*args]) == code
    captured = capsys.readouterr()
    return [json.loads(line)["value"]["n"] for line in captured.out.splitlines()], captured.err


def test_a_search_that_reached_its_limit_says_so(broker, capsys):
    """It named all offsets as searched, and ended as one that had shown every message."""
    shown, said = told(capsys, [*SEARCH, "--where", "n > 1", "--limit", "4"])
    assert shown == [2, 3, 4, 5]
    assert "--limit" in said
    _, said = told(capsys, [*SEARCH, "--where", "n > 1"])
    assert "--limit" not in said


def test_a_batch_that_cannot_be_opened_may_hold_what_is_not_found(broker, capsys):
    """ "Not found" is said of offsets that were read."""
    told(capsys, [*SEARCH, "--where", "n == 77"], code=6)
    broker.log(LOG).spoil(4, 6)
    _, said = told(capsys, [*SEARCH, "--where", "n == 5"], code=3)
    assert "offsets 4 to 5 cannot be opened" in said


def test_a_tail_names_the_batches_it_skips(broker, capsys):
    """Otherwise the newest messages would seem to be the last readable ones."""
    broker.log(LOG).spoil(8, 10)
    shown, said = told(capsys, [*TAIL, "-n", "2"])
    assert shown == [7, 6]
    assert "offsets 8 to 9 cannot be opened" in said


def test_an_offset_of_nine_digits_is_no_time_in_the_past(broker, capsys):
    """As seconds it lies before 2001, so a search up to it found nothing in any log."""
    shown, _ = told(capsys, [*SEARCH, "--to", "123456789"])
    assert shown == [*range(10)]
