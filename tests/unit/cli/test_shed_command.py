"""`dia shed`: its plan, its orders and its refusals."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock
from streams.core.types import CommittedOffset, TopicPartition
from streams.engine.runtime.offsets.shed_order import read_orders
from streams.operate.audit.snapshot import ShedRange
from streams.operate.topics.topics import wanted_topics

T_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z, when the first records are appended."""
NOW_S = T_MS / 1000 + 7200
HERE = TopicPartition(MODEL_METRICS.name, 1)
PLAN = ["shed", "plan", "--topic", "model.metrics", "--older-than", "1h"]
RUN = ["shed", "run", "--topic", "model.metrics", "--older-than", "1h", "--reason", "too old"]


@pytest.fixture
def broker(monkeypatch, tmp_path):
    """In partition 1: 4 committed records, 10 that are two hours old, 5 new ones."""
    clock = VirtualClock(T_MS)
    made = MemoryBroker(clock)

    async def arrange() -> None:
        admin = await made.admin()
        await admin.create_topics(wanted_topics(app.topology))
        log = made.log(HERE)
        producer = made.transactional_producer("worker")
        await producer.start()
        for count, at_s in ((14, 0.0), (5, 7000.0)):
            await clock.advance(at_s)
            for _ in range(count):
                log.append(made._cluster.entry(HERE, b"t", b"{}", (), None))
        await producer.begin()
        await producer.send_offsets({HERE: CommittedOffset(4, "epoch=2 seq=1")}, DIA_GROUP)
        await producer.commit()

    asyncio.run(arrange())
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    monkeypatch.setattr("time.time", lambda: NOW_S)
    return made


def orders(broker):
    async def read():
        return await read_orders(await broker.admin(), DIA_GROUP, [HERE])

    return asyncio.run(read())


def test_a_plan_is_a_table_with_an_explanation(broker, capsys):
    """Per partition: lag, the oldest record, the records to skip and the remaining ones."""
    assert main([*PLAN, "--partition", "1", "--partition", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "topic          partition  lag  oldest                from  to  shed  left\n"
        "model.metrics  0          0                          0     0   0     0\n"
        "model.metrics  1          15   2027-01-15T08:00:00Z  4     14  10    5\n"
    )
    assert captured.err.splitlines() == [
        (
            "10 offsets of 1 partition, appended from 2027-01-15T08:00:00Z to 2027-01-15T08:00:00Z, "
            "would not be processed: aggregate_metrics never sees them, good or bad."
        ),
        (
            "Windows of events sent in that time will show less traffic than there was, in m1, h1 and "
            "d1. Windows that are open now keep what they have and close as newer records come."
        ),
        "A repeat of a skipped event that comes later is counted as its first.",
        (
            "The ledger counts them as shed; the table shed_ranges names them, you and the reason. The "
            "log keeps the oldest until about 2027-01-22T08:00:00Z."
        ),
        (
            "to do it: dia shed run --topic model.metrics --before 2027-01-15T09:00:00Z --partition 1 "
            "--partition 0 --reason WHY"
        ),
    ]
    assert orders(broker) == {}


@pytest.mark.parametrize(
    ("retention_ms", "said"),
    [
        (2_592_000_000, "The log keeps the oldest until about 2027-02-14T08:00:00Z."),
        (-1, "The log keeps them: its topic has no limit of time."),
    ],
)
def test_the_retention_is_read_from_the_topic(broker, capsys, retention_ms, said):
    """An operator may keep records longer than declared and bring them back later."""

    async def keep() -> None:
        admin = await broker.admin()
        await admin.alter_config("model.metrics", {"retention.ms": str(retention_ms)})

    asyncio.run(keep())
    assert main(PLAN) == 0
    assert said in capsys.readouterr().err


def test_the_printed_command_orders_the_planned_records(broker, capsys):
    """The cutoff is a point in time: records that arrive between plan and run do not change it."""
    assert main(PLAN) == 0
    [line] = re.findall(r"to do it: dia (.*)", capsys.readouterr().err)
    assert main([*line.replace("WHY", "late").split(), "--yes", "--actor", "ann", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["topic"], row["partition"], row["from"], row["to"]) == (*HERE, 4, 14)
    order = orders(broker)[HERE]
    assert (order.until, order.epoch, order.last_offset) == (14, 2, 13)
    assert (order.actor, order.reason, order.id) == ("ann", "late", row["order"])


def test_the_records_to_skip_are_shown_before_the_question(broker, monkeypatch, capsys):
    """Exit code 5 after the answer no, and no order is made."""
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main(RUN) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "model.metrics/1: offsets 4 to 13, 10 of 15" in captured.err
    assert orders(broker) == {}


def test_orders_are_listed_until_they_are_done(broker, capsys):
    """An operator checks from any host whether the order was carried out."""
    assert main([*RUN, "--yes", "--actor", "ann"]) == 0
    capsys.readouterr()
    assert main(["shed", "list", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["state"], row["to"], row["reached"]) == ("waiting", 14, 4)
    assert (row["actor"], row["reason"]) == ("ann", "too old")

    async def worker() -> None:
        producer = broker.transactional_producer("worker")
        await producer.start()
        await producer.begin()
        await producer.send_offsets({HERE: CommittedOffset(16, "epoch=2 seq=1")}, DIA_GROUP)
        await producer.commit()

    asyncio.run(worker())
    assert main(["shed", "list", "--topic", "model.metrics", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert main(["shed", "withdraw", "--yes"]) == 5


def test_a_waiting_order_can_be_withdrawn(broker, capsys):
    """While the worker is down the order can still be withdrawn."""
    assert main([*RUN, "--yes"]) == 0
    assert main(["shed", "withdraw", "--yes", "--actor", "bob"]) == 0
    assert orders(broker)[HERE].withdrawn
    assert main(["shed", "withdraw", "--yes"]) == 5
    assert "no order is waiting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "--topic", "model.metrics", "--older-than", "9d", "--reason", "x"], 5, "nothing in"),
        (["run", "--topic", "model.metrics", "--reason", "x"], 2, "name one age limit"),
        (["plan", "--topic", "model.metrics", "--older-than", "1h", "--before", "now"], 2, "one age limit"),
        (["plan", "--topic", "model.metrics", "--older-than", "old"], 2, "Invalid --older-than"),
        (["plan", "--topic", "decision.simulation.request", "--older-than", "1h"], 2, "answered one"),
        (["plan", "--topic", "model.metrics", "--older-than", "1h", "--partition", "99"], 2, "no 99"),
        (["run", "--topic", "model.metrics", "--older-than", "1h", "--reason", " "], 2, "--reason"),
        (["plan", "--topic", "model.metrics", "--unreadable", "--before", "now"], 2, "neither"),
        (["run", "--topic", "model.metrics", "--unreadable", "--reason", "x"], 5, "can be read"),
        (["plan", "--topic", "orders", "--unreadable"], 2, "no agent reads orders"),
        (["list", "--topic", "orders"], 2, "no agent reads orders"),
    ],
)  # fmt: skip
def test_an_invalid_order_is_refused(broker, capsys, arguments, code, sentence):
    """A usage error is 2, no records to skip is 5; both messages name the alternative."""
    assert main(["shed", *arguments]) == code
    assert sentence in capsys.readouterr().err
    assert orders(broker) == {}


def test_no_old_records_is_an_answer(broker, capsys):
    """Exit code 0: a monitoring script must not fail on a healthy pipeline."""
    assert main(["shed", "plan", "--topic", "train.results", "--older-than", "1h"]) == 0
    assert "no record that old is waiting" in capsys.readouterr().err
    assert main(["shed", "list"]) == 0
    assert "no shed order was ever given" in capsys.readouterr().err


@pytest.fixture
def shed_before(broker, monkeypatch):
    """ClickHouse's shed ranges: one of this epoch, one of another, one of train.results."""

    class Ranges:
        def __init__(self, settings: object) -> None:
            del settings

        async def shed(self, group: str, topic: str) -> list[ShedRange]:
            said = {"partition": 1, "order": "o-1", "actor": "ann", "reason": "x", "at_ms": T_MS}
            if topic != HERE.topic:
                return []
            return [
                ShedRange(epoch=2, first=5, until=9, **said),
                ShedRange(epoch=1, first=0, until=3, **said),
            ]

        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setattr("streams.operate.audit.shards.Shards", Ranges)
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: T_MS)
    return broker


def test_shed_records_are_brought_back_once(shed_before, capsys):
    """Ranges of another epoch may belong to another log. A second run sends no record."""
    command = ["shed", "return", "--order", "o-1"]
    assert main([*command, "--yes", "--json"]) == 0
    captured = capsys.readouterr()
    assert "model.metrics/1: offsets 5 to 8, 4" in captured.err
    row = json.loads(captured.out)
    assert (row["from"], row["to"], row["copied"], row["gone"]) == (5, 9, 4, 0)
    assert shed_before.log(HERE).high_watermark == 19 + 5
    assert main([*command, "--yes"]) == 5
    assert main(["shed", "return", "--order", "o-9", "--yes"]) == 5


def test_deleted_records_make_a_partial_result(shed_before, capsys):
    """Exit code 3: the other records came back, and the message names the missing ones."""
    shed_before.log(HERE).trim(7)
    assert main(["shed", "return", "--order", "o-1", "--yes"]) == 3
    assert "2 offsets were gone" in capsys.readouterr().err


def test_an_unreadable_batch_is_found_shown_and_skipped(broker, capsys):
    """Exactly the batch, wherever after the committed offset it lies."""
    broker.log(HERE).spoil(7, 10)
    assert main(["shed", "plan", "--topic", "model.metrics", "--unreadable"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"model.metrics +1 +15 +7 +10 +3 +12\n", captured.out)
    assert "model.metrics/1: offsets 7 to 9: DecompressionError" in captured.err
    assert "to do it: dia shed run --topic model.metrics --unreadable --reason WHY" in captured.err
    run = [
        "shed",
        "run",
        "--topic",
        "model.metrics",
        "--unreadable",
        "--reason",
        "client 0.3",
        "--yes",
    ]
    assert main(run) == 0
    order = orders(broker)[HERE]
    assert (order.first, order.until, order.epoch, order.reason) == (7, 10, 2, "client 0.3")


def test_consecutive_unreadable_batches_are_skipped_together(broker, capsys):
    """A faulty client sends several such batches, which one order skips."""
    for bounds in ((7, 10), (10, 11), (12, 13)):
        broker.log(HERE).spoil(*bounds)
    assert (
        main(["shed", "plan", "--topic", "model.metrics", "--unreadable", "--partition", "1"]) == 0
    )
    assert re.search(r" 15 +7 +11 +4 +11\n", capsys.readouterr().out)
