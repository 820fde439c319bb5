"""`dia dlq breaker`: lists stopped partitions, and lets their records through."""

from __future__ import annotations

import asyncio
import io
import json
import re

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, TRAIN_RESULTS
from streams.cli import main
from streams.core.clock import SystemClock
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.engine.runtime.poison.poison_register import STOPPED, Word, read_words, write_word
from streams.engine.runtime.poison.quarantine_register import (
    QuarantinedTenant,
    QuarantineWord,
    as_offset,
    quarantine_group,
)
from tests.unit.operate.dlq.mailbag import T, fill

HERE = TopicPartition(MODEL_METRICS.name, 2)
THERE = TopicPartition(TRAIN_RESULTS.name, 0)


async def stop(broker, tp: TopicPartition, offset: int, committed: int | None = None) -> None:
    """Write the status that a worker publishes for a stopped partition."""
    producer = broker.transactional_producer("worker")
    await producer.start()
    word = Word(
        state=STOPPED, offset=offset, at_ms=T, bad=900, records=1000, codes={"wrong_type": 900}
    )
    await write_word(producer, DIA_GROUP, tp, word)
    if committed is not None:
        await producer.begin()
        await producer.send_offsets({tp: CommittedOffset(committed, "")}, DIA_GROUP)
        await producer.commit()
    await producer.close()


@pytest.fixture
def two_stopped(broker):
    """Two stopped partitions, one of them with three waiting records."""

    async def arrange() -> None:
        await fill(broker, *(OutboundRecord(HERE, b"t", b"{") for _ in range(3)))
        await stop(broker, HERE, 0)
        await stop(broker, THERE, 0)

    asyncio.run(arrange())
    return broker


def words(broker):
    async def read():
        return await read_words(await broker.admin(), DIA_GROUP, [HERE, THERE])

    return asyncio.run(read())


def listed(capsys):
    assert main(["dlq", "breaker", "list", "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_stopped_partitions_are_listed(two_stopped, capsys):
    """From any host: the workers may run elsewhere."""
    assert main(["dlq", "breaker", "list"]) == 0
    assert capsys.readouterr().out == (
        "group      topic          partition  state    offset  waiting  bad  records  codes\n"
        "dia-group  model.metrics  2          stopped  0       4        900  1000     "
        "wrong_type 900\n"
        "dia-group  train.results  0          stopped  0       0        900  1000     "
        "wrong_type 900\n"
    )
    row = listed(capsys)[0]
    assert (row["codes"], row["at"]) == ({"wrong_type": 900}, "2027-01-15T08:00:00.000Z")


def test_stopped_partitions_are_listed_on_a_terminal(two_stopped, monkeypatch):
    """An operator on call sees this list first."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    assert main(["dlq", "breaker", "list"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert [line.rstrip() for line in shown.splitlines()] == [
        "group      topic          partition  state    offset  waiting  bad  records  codes",
        "dia-group  model.metrics  2          stopped  0       4        900  1000     wrong_type 900",
        "dia-group  train.results  0          stopped  0       0        900  1000     wrong_type 900",
    ]


def test_a_reset_lets_the_current_records_through(two_stopped, capsys):
    """The mark is the end of the log at that moment: the breaker checks later records again."""
    command = ["dlq", "breaker", "reset", "--topic", HERE.topic, "--partition", "2", "--yes"]
    assert main([*command, "--actor", "ann", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passes_until"] == 4
    assert "900 of 1000 records were bad (wrong_type 900). 4 offsets pass" in captured.err
    said = words(two_stopped)
    assert (said[HERE].state, said[HERE].offset, said[HERE].actor) == ("let_through", 4, "ann")
    assert said[THERE].state == STOPPED
    assert [row["state"] for row in listed(capsys)] == ["passing until 4", "stopped"]
    assert main(command) == 5


def test_a_reset_may_cover_all_stopped_partitions(two_stopped, capsys):
    """A bad deploy stops every partition, so no partition number is needed."""
    assert main(["dlq", "breaker", "reset", "--yes"]) == 0
    assert {word.state for word in words(two_stopped).values()} == {"let_through"}


def test_the_answer_no_changes_nothing(two_stopped, monkeypatch, capsys):
    """The command lists the records before it asks."""
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main(["dlq", "breaker", "reset"]) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "model.metrics/2 stands at offset 0" in captured.err
    assert {word.state for word in words(two_stopped).values()} == {STOPPED}


def test_a_partition_that_passed_its_stop_is_not_listed(broker, capsys):
    """After a fix and a restart no reset is needed: the group's offset has moved on."""
    asyncio.run(stop(broker, HERE, 10, committed=11))
    asyncio.run(stop(broker, THERE, 10, committed=10))
    assert [row["topic"] for row in listed(capsys)] == [THERE.topic]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 5, "the poison breaker stops nothing there"),
        (["--partition", "1"], 2, "--partition needs the --topic"),
    ],
)
def test_a_reset_without_a_stopped_partition_is_refused(broker, capsys, arguments, code, sentence):
    """A reset permits given records; it cannot be given in advance."""
    assert main(["dlq", "breaker", "reset", "--yes", *arguments]) == code
    assert sentence in capsys.readouterr().err
    assert words(broker) == {}


def test_no_stopped_partition_is_an_answer(broker, capsys):
    """Exit code 0: a monitoring script must not fail on a healthy pipeline."""
    assert main(["dlq", "breaker", "list"]) == 0
    assert "the poison breaker stops nothing" in capsys.readouterr().err


def test_tenants_in_quarantine_are_listed_with_the_end_of_their_stay(broker, capsys):
    """The list explains why dead letters are pointers. `reset` does not apply to quarantine, since
    no partition is stopped.
    """
    until_ms = SystemClock().now_ms() + 60_000
    tenant = QuarantinedTenant(tenant="ac\x1bme", until_ms=until_ms, bad=900, records=1000)
    over = QuarantinedTenant(tenant="over", until_ms=1, bad=1, records=1)

    async def say() -> None:
        producer = broker.transactional_producer("worker")
        await producer.start()
        await producer.begin()
        word = as_offset(QuarantineWord(at_ms=T, tenants=[tenant, over], more=3), 7)
        await producer.send_offsets({HERE: word}, quarantine_group(DIA_GROUP))
        await producer.commit()

    asyncio.run(fill(broker))
    asyncio.run(say())
    [row] = listed(capsys)
    assert (row["state"], row["tenant"], row["bad"]) == ("quarantined", "ac\x1bme", 900)
    assert main(["dlq", "breaker", "list"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "more tenants" in shown
    assert main(["dlq", "breaker", "reset", "--yes"]) == 5
