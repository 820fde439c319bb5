"""`dia produce`: records sent, refused lines, and the exit code."""

from __future__ import annotations

import io
import json
import re

import pytest

import streams.cli.clients
from agents.app import app
from streams.cli import main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.core.types import TopicPartition
from streams.operate.topics.topics import wanted_topics

TOPIC = "model.metrics"


@pytest.fixture
def broker(monkeypatch, tmp_path):
    """A memory broker with the topics, in place of the configured one."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    made = MemoryBroker(SystemClock())
    monkeypatch.setattr(streams.cli.clients, "broker_of", lambda settings: made)
    run(_create_topics(made))
    return made


def run(coroutine):
    """The command runs its own event loop, so these tests are synchronous."""
    import asyncio

    return asyncio.run(coroutine)


async def _create_topics(broker) -> None:
    await (await broker.admin()).create_topics(wanted_topics(app.topology))


async def _records(broker) -> list[tuple[int, bytes, bytes]]:
    reader, found = await broker.reader(), []
    for partition in range(4):
        batch = await reader.read(TopicPartition(TOPIC, partition), 0, 1_000_000)
        found += [(partition, *kv) for kv in zip(batch.keys, batch.values, strict=True)]
    return found


def event(**changes) -> str:
    now_ms = SystemClock().now_ms()
    good = {"tenant_id": "t", "model_id": "m", "metric": "loss", "ts": now_ms, "value": 1.5}
    return json.dumps({**good, **changes})


def test_lines_are_sent_with_the_key_of_their_event(broker, tmp_path, capsys):
    """The key decides the partition, and deduplication works per partition."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([event(), "", event(tenant_id="other"), event(value=2)]))
    assert main(["produce", TOPIC, "--file", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"topic": TOPIC, "sent": 3, "refused": 0, "by_code": {}}
    records = run(_records(broker))
    assert sorted(key for _, key, _ in records) == [b"other", b"t", b"t"]
    assert all(partition == partition_of(key, 4) for partition, key, _ in records)


@pytest.mark.parametrize("variable", [False, True], ids=["option", "environment"])
def test_events_carry_their_trace(broker, tmp_path, capsys, monkeypatch, variable):
    """A traced build or script finds its events again, without installed packages."""
    header = f"00-{7:032x}-{9:016x}-01"
    file = tmp_path / "events.jsonl"
    file.write_text(event())
    given = ["--traceparent", header]
    if variable:
        monkeypatch.setenv("TRACEPARENT", header)
        given = []
    assert main(["produce", TOPIC, "--file", str(file), *given]) == 0
    assert run(_headers(broker)) == [(("traceparent", header.encode()),)]
    unfollowed = header[:-1] + "0"
    assert main(["produce", TOPIC, "--generate", "1", "--traceparent", unfollowed]) == 0
    assert min(run(_headers(broker))) == ()


def test_an_invalid_trace_header_is_a_usage_error(broker, tmp_path, capsys):
    """Otherwise the trace would end here without a message."""
    assert main(["produce", TOPIC, "--generate", "1", "--traceparent", "00-1-2-3"]) == 2
    assert "--traceparent" in capsys.readouterr().err


async def _headers(broker):
    reader, found = await broker.reader(), []
    for partition in range(4):
        found += (await reader.read(TopicPartition(TOPIC, partition), 0, 1_000_000)).headers
    return found


def test_refused_lines_are_named_and_the_rest_is_sent(broker, tmp_path, capsys):
    """One invalid line of a thousand must neither affect the others nor disappear."""
    lines = [event(), "{", event(ts=-1), event(value="x"), event()]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines) + "\n")
    assert main(["produce", TOPIC, "--file", str(file), "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["by_code"] == {"invalid_json": 1, "out_of_range": 1, "wrong_type": 1}
    assert json.loads(out)["sent"] == 2
    assert "line 2: invalid_json: $: " in err
    assert "line 3: out_of_range: $.ts: " in err
    assert "line 4: wrong_type: $.value: " in err
    assert [value for _, _, value in run(_records(broker))] == [
        lines[0].encode(), lines[4].encode()
    ]  # fmt: skip


def test_strict_stops_at_the_first_refused_line(broker, tmp_path, capsys):
    """For complete loads: every line before the refused one is sent, none after it."""
    file = tmp_path / "events.jsonl"
    file.write_text(f"{event()}\n{event()}\n{{\n{event()}")
    assert main(["produce", TOPIC, "--file", str(file), "--strict", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["sent"] == 2
    assert "stopped at line 3" in err
    assert len(run(_records(broker))) == 2


def test_a_run_that_an_outage_ended_goes_on_at_the_first_unacknowledged_line(
    broker, tmp_path, capsys
):
    """Without the line a user sends the file again, or loses the rest."""
    lines = [event(value=n) for n in range(9000)]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines))
    broker.faults.fail("produce", BrokerUnavailable("away"), nth=3)
    assert main(["produce", TOPIC, "--file", str(file)]) == 4
    said = capsys.readouterr().err
    found = re.search(r"([\d,]+) lines are acknowledged.*--from-line (\d+)\.", said)
    sent, line = int(found[1].replace(",", "")), int(found[2])
    assert 0 < line <= sent + 1 < 9000
    assert main(["produce", TOPIC, "--file", str(file), "--from-line", str(line)]) == 0
    values = {value for _, _, value in run(_records(broker))}
    assert values == {one.encode() for one in lines}
    argv = ["produce", TOPIC, "--generate", "20000", "--seed", "4", "--start-ms", "1700000000000"]
    broker.faults.fail("produce", BrokerUnavailable("away"), nth=2)
    assert main(argv) == 4
    assert "--seed 4 --start-ms 1700000000000" in capsys.readouterr().err


def test_the_number_of_shown_refusals_is_bounded(broker, tmp_path, capsys):
    """The summary counts the refusals that are not shown."""
    file = tmp_path / "events.jsonl"
    file.write_text("{x\n" * 500)
    assert main(["produce", TOPIC, "--file", str(file), "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["refused"] == 500
    assert err.count("invalid_json:") == 100


def test_stdin_is_a_file_too(broker, monkeypatch, tmp_path, capsys):
    """Other programs feed a topic with `producer | dia produce TOPIC --file -`."""
    import streams.cli.line_validator

    file = tmp_path / "piped"
    file.write_text(event())
    monkeypatch.setattr(
        streams.cli.line_validator, "FileIO", lambda name, **_: io.FileIO(str(file))
    )
    assert main(["produce", TOPIC, "--file", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 1


def test_synthetic_events_equal_the_summary(broker, capsys):
    """Users compare the counts of the pipeline with the summary."""
    argv = ["produce", TOPIC, "--generate", "20000", "--seed", "7", "--poison", "0.01"]
    assert main([*argv, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sent"] == 20_000 == len(run(_records(broker)))
    dead = sum(shown["dead_letters"].values())
    assert shown["new"] + shown["duplicates"] + dead == 20_000
    assert 100 < dead < 400


def test_the_same_seed_and_start_give_the_same_bytes(broker, capsys):
    """The events of an observed failure can be sent again."""
    argv = ["produce", TOPIC, "--generate", "500", "--start-ms", "1700000000000"]
    assert main(argv) == main(argv) == 0
    values = [value for _, _, value in run(_records(broker))]
    assert len(values) == 1000
    assert len(set(values)) <= 500
    capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([TOPIC], "--file FILE"),
        ([TOPIC, "--file", "x", "--generate", "5"], "--file FILE"),
        (["no.topic", "--generate", "5"], "model.metrics"),
        (["train.results", "--generate", "5"], "makes events of model.metrics"),
        ([TOPIC, "--file", "/nowhere"], "/nowhere cannot be read"),
        ([TOPIC, "--generate", "5", "--workload", "odd"], "wide, narrow"),
        ([TOPIC, "--generate", "5", "--late", "0.95"], "sum of all shares"),
        ([TOPIC, "--generate", "0"], ""),
        ([TOPIC, "--generate", "5", "--from-line", "2"], "--from-line is of the lines"),
        ([TOPIC, "--generate", "5", "--wait", "300"], 'Invalid --wait "300"'),
    ],
)
def test_a_usage_error_ends_with_exit_code_2(broker, capsys, argv, said):
    """No record is sent before the whole command is valid."""
    assert main(["produce", *argv]) == 2
    assert said in capsys.readouterr().err
    assert run(_records(broker)) == []


def test_no_address_is_a_missing_dependency(monkeypatch, tmp_path, capsys):
    """The message names the next command."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    assert main(["produce", TOPIC, "--generate", "5"]) == 4
    assert "dia up" in capsys.readouterr().err


def test_synthetic_requests_equal_the_summary(broker, capsys):
    """Keys, repeats, conflicts and invalid requests add up, and the same seed gives the same bytes."""
    argv = ["produce", "decision.simulation.request", "--generate", "400", "--duplicates", "0.2"]
    argv += ["--poison", "0.05", "--start-ms", "1700000000000", "--json"]
    assert main(argv) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sent"] == 400
    assert sum(shown[kind] for kind in ("keys", "repeats", "conflicts", "poison")) == 400
    assert shown["repeats"] > 40
    first = run(_requests(broker))
    assert len(first) == 400
    assert main(argv) == 0
    again = run(_requests(broker))
    assert sorted(again) == sorted(first * 2)


async def _requests(broker) -> list[tuple[bytes, bytes]]:
    reader, found = await broker.reader(), []
    for partition in range(3):
        tp = TopicPartition("decision.simulation.request", partition)
        batch = await reader.read(tp, 0, 1_000_000)
        found += list(zip(batch.keys, batch.values, strict=True))
    return found


def test_lines_of_another_schema_version_name_it(broker, second_version, tmp_path, capsys):
    """Without the header the pipeline would read them as version 1, and refuse them or lose new
    fields.
    """
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([event(unit="s"), event()]))
    assert main(["produce", TOPIC, "--file", str(file), "--schema", "2", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["by_code"] == {"missing_field": 1}
    assert "line 2: missing_field: $.unit" in err

    async def sent() -> list:
        reader = await broker.reader()
        batches = [await reader.read(TopicPartition(TOPIC, n), 0) for n in range(4)]
        return [headers for batch in batches for headers in batch.headers]

    assert run(sent()) == [(("dia.schema", b"2"),)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--file", "-", "--schema", "2"], "no schema version 2; published are: 1."),
        (["--generate", "5", "--schema", "1"], "--schema is of the lines"),
    ],
)
def test_an_invalid_schema_version_is_refused(broker, capsys, options, said):
    """No record is sent under an unreadable version."""
    assert main(["produce", TOPIC, *options]) == 2
    assert said in capsys.readouterr().err


def test_an_event_that_the_agent_always_refuses_is_not_sent(broker, tmp_path, capsys):
    """The documented check of every line includes every rule for a single event."""
    result = {
        "result_id": "x", "run_id": "r", "tenant_id": "t", "model_id": "m", "version": "1",
        "event": "stage_transitioned", "metrics": {}, "ts": SystemClock().now_ms(),
    }  # fmt: skip
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps(result))
    assert main(["produce", "train.results", "--file", str(file), "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["sent"] == 0
    assert "missing_field: $.stage: stage_transitioned needs this field" in err
