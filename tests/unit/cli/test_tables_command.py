"""`dia tables`: its list, its questions and its refusals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.types import OutboundRecord, TopicPartition
from streams.engine.runtime.assignment import first_link, transactional_id
from streams.engine.runtime.offsets.commit_mark import committed_offset
from streams.engine.state.changelog import pack
from streams.engine.streams.declared_table import user_prefix
from streams.operate.topics.topics import wanted_topics

RESET = ("tables", "reset", "--group", "dia-group", "--topic", MODEL_METRICS.name)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> MemoryBroker:
    """A broker with all topics, empty."""
    made = MemoryBroker(SystemClock())

    async def create() -> None:
        admin = await made.admin()
        await admin.create_topics(wanted_topics(app.topology))

    asyncio.run(create())
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    return made


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["tables", "list", "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_partition_of_every_group_is_listed(broker, capsys):
    """A partition without a commit is listed too."""
    rows = listed(capsys)
    expected = {
        (agent.group, agent.source.name, partition)
        for agent in app.agents.values()
        for partition in range(agent.source.partitions or 1)
    }
    assert len(rows) == len(expected)
    assert {(row["group"], row["topic"], row["partition"]) for row in rows} == expected
    assert {row["epoch"] for row in rows} == {None}


def test_a_reset_asks_first_and_the_answer_no_changes_nothing(broker, monkeypatch, capsys):
    """The loss is shown before the question."""
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main([*RESET, "--partition", "1"]) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "changelog_lost" in captured.err
    assert "continues at offset 0 in epoch 1" in captured.err
    assert {row["epoch"] for row in listed(capsys)} == {None}


def test_a_confirmed_reset_opens_an_epoch_once(broker, capsys):
    """A second reset finds no fault and refuses."""
    assert main([*RESET, "--partition", "1", "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["cause"], said["epoch"], said["next_offset"]) == ("changelog_lost", 1, 0)
    (row,) = [row for row in listed(capsys) if row["epoch"] is not None]
    assert (row["topic"], row["partition"], row["epoch"]) == (MODEL_METRICS.name, 1, 1)
    assert row["live_bytes"] > 0
    assert row["fault"] is None
    assert main([*RESET, "--partition", "1", "--yes"]) == 5
    assert "nothing stops model.metrics/1" in capsys.readouterr().err


def test_a_group_that_does_not_consume_the_topic_is_named(broker, capsys):
    """A typing error must not reach a partition."""
    command = ["tables", "reset", "--group", "dia-grup", "--topic", "x", "--partition", "0"]
    assert main(command) == 2
    assert "dia-group: model.metrics" in capsys.readouterr().err


def test_a_partition_that_does_not_exist_is_refused(broker, capsys):
    """Otherwise a typing error would look like a lost changelog."""
    assert main([*RESET, "--partition", "9", "--yes"]) == 4
    assert "does not exist" in capsys.readouterr().err


def test_a_drop_needs_a_reason_and_pending_effects_of_its_target(broker, capsys):
    """Each refusal comes before the worker is fenced."""
    drop = ("tables", "outbox", "drop", "--group", "dia-group", "--topic", MODEL_METRICS.name)
    assert main([*drop, "--partition", "0", "--target", "x", "--reason", " "]) == 2
    assert "--reason takes" in capsys.readouterr().err
    assert main([*drop, "--partition", "0", "--target", "x", "--reason", "why", "--yes"]) == 5
    assert "changelog_lost" in capsys.readouterr().err
    reset = ("tables", "reset", *drop[3:])
    assert main([*reset, "--partition", "0", "--yes"]) == 0
    assert main([*drop, "--partition", "0", "--target", "x", "--reason", "why", "--yes"]) == 2
    assert "nothing is owed to an undeclared table or sink called 'x'" in capsys.readouterr().err
    assert main(["tables", "outbox", "list", "--json"]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["target"], row["kind"], row["declared"], row["rows"]) == (
        "ledger",
        "table",
        True,
        1,
    )


@pytest.fixture
def notes(broker) -> None:
    """Three entries of a table that the app does not declare, in two partitions."""

    async def write() -> None:
        for partition, keys in ((0, (b"a", b"b")), (1, (b"c",))):
            tp = TopicPartition(MODEL_METRICS.name, partition)
            changelog = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), partition)
            producer = broker.transactional_producer(transactional_id(DIA_GROUP, tp))
            await producer.start()
            await producer.begin()
            link = first_link(0, bytes(16))
            entries = [(user_prefix("notes") + key, b"1") for key in keys]
            ((data, _),) = pack(link, entries)
            offset = await (await producer.send(OutboundRecord(changelog, None, data)))
            await producer.send_offsets({tp: committed_offset(link, offset)}, DIA_GROUP)
            await producer.commit()
            await producer.close()

    asyncio.run(write())


def _left(capsys: pytest.CaptureFixture[str]) -> dict[int, tuple[str, str, int]]:
    capsys.readouterr()
    assert main(["tables", "undeclared", "list", "--json"]) == 0
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    return {row["partition"]: (row["table"], row["kind"], row["entries"]) for row in rows}


@pytest.mark.usefixtures("notes")
def test_an_undeclared_table_is_dropped_in_all_partitions(capsys):
    """One command for a table, however many partitions keep some of it."""
    assert _left(capsys) == {0: ("notes", "table", 2), 1: ("notes", "table", 1)}
    command = ["tables", "undeclared", "drop", "--table", "notes", "--yes", "--json"]
    assert main(command) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["partition"], row["entries"]) for row in rows] == [(0, 2), (1, 1)]
    assert _left(capsys) == {}
    assert {row["fault"] for row in listed(capsys)} == {None}
    assert main(command) == 2
    assert "no partition keeps anything of an undeclared table 'notes'" in capsys.readouterr().err


@pytest.mark.usefixtures("notes")
def test_a_drop_asks_first_and_the_answer_no_changes_nothing(monkeypatch, capsys):
    """A version that is rolled back would find an empty table."""
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main(["tables", "undeclared", "drop", "--table", "notes"]) == 5
    assert "model.metrics/0 of dia-group keeps 2 entries of notes" in capsys.readouterr().err
    assert len(_left(capsys)) == 2
