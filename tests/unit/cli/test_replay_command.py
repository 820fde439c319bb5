"""`dia replay`: output, questions and exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import pytest

from agents.app import MODEL_METRICS, app
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import SystemClock
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.topics.topics import wanted_topics

AT_MS = 1_760_000_000_000
PLAN = ("replay", "plan", "--topic", "model.metrics", "--actor", "ann")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> MemoryBroker:
    """A broker with all topics, and shards; plans are written to a folder of the test."""
    made, rows = MemoryBroker(SystemClock()), MemoryShards(1, SystemClock())

    async def create() -> None:
        admin = await made.admin()
        await admin.create_topics(wanted_topics(app.topology))

    asyncio.run(create())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)

    async def shards_of(settings, topology):
        return rows

    monkeypatch.setattr(clients, "shards_of", shards_of)
    return made


def event(number: int, **fields: Any) -> bytes:
    body = {"event_id": f"e{number}", "tenant_id": "t", "model_id": "m", "metric": "x"}
    return json.dumps({**body, "ts": AT_MS, "value": 1, **fields}).encode()


def bury(broker: MemoryBroker, code: str, *values: bytes) -> None:
    async def write() -> None:
        writer = broker.transactional_producer("buries")
        await writer.start()
        await writer.begin()
        for value in values:
            tp = TopicPartition(MODEL_METRICS.name, 2)
            at = broker.log(TopicPartition(MODEL_METRICS.dlq, 2)).high_watermark
            batch = RecordBatch(tp, 0, 1, [at], [AT_MS], [b"t"], [value], [()])
            failure = Failure(
                code=code,
                message="why",
                stage="decode",
                agent="a",
                group="dia-group",
                attempts=1,
                first_failed_ms=AT_MS + 1000 * at,
            )
            await (await writer.send(dead_letter(Origin.of(batch, 0, 0), failure, "t").record))
        await writer.commit()

    asyncio.run(write())


def test_a_plan_and_its_run_in_a_pipe(broker, capsys):
    """Golden files: scripts and users read this output."""
    bury(broker, "unknown_schema_version", event(1), event(2))
    bury(broker, "invalid_json", b"{")
    assert main([*PLAN, "--out", "fix.json"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "error                   letters  oldest                newest                "
        "passes  replay  park  excluded\n"
        "unknown_schema_version  2        2025-10-09T08:53:20Z  2025-10-09T08:53:21Z  "
        "2       2       0\n"
        "invalid_json            1        2025-10-09T08:53:23Z  2025-10-09T08:53:23Z  "
        "0       0       0     1 still_fails\n"
    )
    assert "not replayed: model.metrics/2/3: still_fails: invalid_json: $" in err
    assert "2 letters; 1 will not be replayed" in err
    assert "Next: dia replay run --plan fix.json" in err
    assert main(["replay", "run", "--plan", "fix.json", "--actor", "bob"]) == 3
    out, err = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["state"].strip() == "finished"
    assert (lines["planned"], lines["replayed"], lines["behind"]) == ("2", "2", "1")
    assert "1 of the selected dead letters are left" in err
    assert broker.log(TopicPartition(MODEL_METRICS.name, 2)).high_watermark == 3


def test_the_same_as_json_and_a_second_run_without_effect(broker, capsys):
    """Programs read numbers instead of sentences."""
    bury(broker, "unknown_schema_version", event(1))
    assert main([*PLAN, "--out", "fix.json", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["letters"], said["behind"], said["file"]) == (1, {}, "fix.json")
    assert said["errors"][0]["error"] == "unknown_schema_version"
    for _ in range(2):
        assert main(["replay", "run", "--plan", "fix.json", "--json"]) == 0
        done = json.loads(capsys.readouterr().out)
        assert (done["state"], done["replayed"], done["shown"]) == ("finished", 1, True)
    assert broker.log(TopicPartition(MODEL_METRICS.name, 2)).high_watermark == 2
    assert main(["replay", "status", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["plan"], row["partition"], row["state"], row["to_go"], row["by"]) == (
        said["plan"],
        2,
        "finished",
        0,
        row["by"],
    )


def test_a_plan_on_a_terminal_is_a_table_and_shows_what_a_patch_changes(
    broker, monkeypatch, capsys
):
    """Users see the records and changes before anything is sent."""
    bury(broker, "missing_field", json.dumps({**json.loads(event(1)), "name": "x"}).encode())

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    patch = '[{"op": "replace", "path": "/metric", "value": "y"}]'
    assert main([*PLAN, "--patch", patch, "--out", "fix.json"]) == 0
    assert re.search(r"missing_fie[ld]+ +1", re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()))
    err = capsys.readouterr().err
    assert '-  "metric": "x",' in err
    assert '+  "metric": "y",' in err


def test_large_plans_ask_first(broker, monkeypatch, capsys):
    """A replay of a thousand records cannot be undone."""
    monkeypatch.setattr("streams.cli.replay.replay.CONFIRM_FROM", 1)
    bury(broker, "wrong_type", event(1))
    assert main([*PLAN, "--out", "fix.json"]) == 0
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main(["replay", "run", "--plan", "fix.json"]) == 5
    assert "nothing was changed" in capsys.readouterr().err
    assert main(["replay", "run", "--plan", "fix.json", "--yes"]) == 0


def test_plans_are_paused_resumed_and_cancelled_by_their_id(broker, capsys):
    """An operator on call has the id, not the file."""
    bury(broker, "wrong_type", event(1))
    assert main([*PLAN, "--out", "fix.json", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert main(["replay", "submit", "--plan", "fix.json"]) == 0
    assert main(["replay", "pause", plan, "--reason", "busy", "--json"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["state"], row["reason"], row["to_go"]) == ("paused", "busy", 1)
    assert main(["replay", "run", "--plan", "fix.json"]) == 5
    assert f"dia replay resume {plan}" in capsys.readouterr().err
    assert main(["replay", "resume", plan, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "entered"
    assert main(["replay", "cancel", plan, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
    assert main(["replay", "resume", "nonsense"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("plan",), 2, "no topic is named"),
        (("plan", "--topic", "nowhere"), 2, "nowhere has no DLQ of dia's"),
        (("plan", "--topic", "model.metrics", "--to", "elsewhere"), 5, "declared"),
        (("plan", "--topic", "model.metrics", "--patch", "{}"), 2, "not a JSON Patch"),
        (("plan", "--topic", "model.metrics", "--patch", '[{"op": "x"}]'), 2, "not a JSON Patch"),
        (("plan", "--topic", "model.metrics", "--patch", "@gone"), 2, "cannot be read"),
        (("plan", "--topic", "model.metrics", "--transform", "x"), 2, "dia.transforms"),
        (("plan", "--topic", "model.metrics", "--transform", "os:system"), 2, "no installed"),
        (("plan", "--topic", "model.metrics"), 0, "holds no dead letters"),
        (("run", "--plan", "gone.json"), 2, "cannot be read"),
        (("status", "nonsense"), 2, "there is no plan nonsense"),
    ],
)
def test_invalid_input_is_answered_with_one_sentence(broker, capsys, arguments, code, said):
    """What, why and the next command; and no partial effect."""
    assert main(["replay", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_a_plan_that_was_edited_is_refused(broker, tmp_path, capsys):
    """Its digest covers every field."""
    bury(broker, "wrong_type", event(1))
    assert main([*PLAN, "--out", "fix.json"]) == 0
    path = tmp_path / "fix.json"
    whole = path.read_text()
    path.write_text(whole.replace('"made_by": "ann"', '"made_by": "eve"'))
    assert main(["replay", "run", "--plan", "fix.json"]) == 5
    assert "its digest differs" in capsys.readouterr().err
    path.write_text(whole.replace('"format": 1', '"format": 2'))
    assert main(["replay", "run", "--plan", "fix.json"]) == 5
    path.write_text("[]")
    assert main(["replay", "run", "--plan", "fix.json"]) == 2
    assert broker.log(TopicPartition(MODEL_METRICS.name, 2)).high_watermark == 0


def test_a_plan_of_another_cluster_is_refused(broker, capsys):
    """Its offsets would refer to other records there."""
    bury(broker, "wrong_type", event(1))
    assert main([*PLAN, "--out", "fix.json"]) == 0
    broker._cluster.cluster_id = "another"
    assert main(["replay", "run", "--plan", "fix.json"]) == 5
    assert "this is cluster another" in capsys.readouterr().err


def test_dead_letters_without_headers_of_dia_are_named_and_need_a_target(broker, capsys):
    """Their source is unknown, so the user must name a target."""

    async def write() -> None:
        producer = broker.plain_producer()
        now_ms = SystemClock().now_ms()
        await (await producer.send(MODEL_METRICS.dlq, b"t", event(1, ts=now_ms)))
        connect = (("__connect.errors.topic", b"orders"), ("__connect.errors.offset", b"7"))
        await (await producer.send(MODEL_METRICS.dlq, b"t", event(2, ts=now_ms), connect))

    asyncio.run(write())
    assert main(PLAN) == 0
    err = capsys.readouterr().err
    assert "its topic (orders) is not a topic of this app; --to names" in err
    assert "its headers do not say which" in err
    assert main([*PLAN, "--to", "model.metrics", "--out", "fix.json"]) == 0
    assert main(["replay", "run", "--plan", "fix.json"]) == 0


@pytest.mark.parametrize(
    "command", ["plan", "run", "submit", "resume", "pause", "cancel", "status", "policies"]
)
def test_every_command_shows_an_example(command, capsys):
    """Users copy the example and change it."""
    assert main(["replay", command, "--help"]) == 0
    assert f"Example: dia replay {command}" in capsys.readouterr().out


def test_an_interrupted_run_names_the_command_to_resume(broker, monkeypatch, capsys):
    """Ctrl-C is safe at any moment, and the message names the next command."""
    bury(broker, "wrong_type", event(1))
    assert main([*PLAN, "--out", "fix.json", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]

    async def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("streams.operate.replay.run.run.run_plan", interrupted)
        assert main(["replay", "run", "--plan", "fix.json"]) == 130
    assert f"`dia replay resume {plan}` continues it" in capsys.readouterr().err
    assert main(["replay", "run", "--plan", "fix.json"]) == 0


@pytest.mark.parametrize(
    "arguments", [PLAN, ("replay", "status"), ("replay", "pause", "x"), ("replay", "resume", "x")]
)
def test_without_a_broker_the_command_fails(monkeypatch, tmp_path, capsys, arguments):
    """An outage must not look like "nothing to replay"."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.delenv("DIA_KAFKA_BOOTSTRAP", raising=False)
    assert main([*arguments, "--json"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "no Kafka address is known" in err
