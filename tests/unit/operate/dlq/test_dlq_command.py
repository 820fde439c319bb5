"""`dia dlq` on a terminal, in a pipe, as JSON; and its refusals."""

from __future__ import annotations

import asyncio
import base64
import errno
import gc
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.app import app
from streams.cli import main
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.operate.dlq.dead_letter import letters
from streams.operate.dlq.export import encode
from tests.unit.operate.dlq.mailbag import GOOD, fill, letter

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "stats": ["stats"],
    "stats_by": ["stats", "--by", "error", "--by", "tenant"],
    "list": ["list"],
    "show": ["show", "model.metrics/1/41"],
    "export": ["export", "--error", "invalid_utf8"],
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_in_a_pipe(filled, capsys, name):
    """Aligned text for awk; messages go to stderr."""
    assert main(["dlq", *COMMANDS[name]]) == 0
    assert capsys.readouterr().out == golden(f"{name}.pipe.txt")


@pytest.mark.parametrize("name", COMMANDS)
def test_as_json(filled, capsys, name):
    """One object a line, with stable names."""
    assert main(["dlq", *COMMANDS[name], "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == golden(f"{name}.json.txt")
    assert captured.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_terminal(filled, monkeypatch, name):
    """Columns of the needed width; contents cannot act on the terminal."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["dlq", *COMMANDS[name]]) == 0
    assert terminal.getvalue() == golden(f"{name}.terminal.txt")


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("name", ["list", "export"])
def test_a_reader_that_leaves_ends_the_command_quietly(filled, monkeypatch, caplog, name):
    """`dia dlq list --json | head -1` printed a traceback of the reading that went on."""
    closing = filled.admin

    async def admin():
        made = await closing()

        async def close():
            await asyncio.sleep(0)

        monkeypatch.setattr(made, "close", close)
        return made

    monkeypatch.setattr(filled, "admin", admin)
    monkeypatch.setattr("sys.stdout", ClosedPipe())
    assert main(["dlq", *COMMANDS[name], "--json", "--quiet"]) == 141
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_contents_cannot_act_on_a_terminal(filled, capsys):
    """A producer chooses these bytes: an escape sequence could retitle a terminal, or worse."""
    assert main(["dlq", "show", "model.metrics/1/45"]) == 0
    assert main(["dlq", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_bytes_are_dumped(filled, capsys):
    """Binary values can be inspected too."""
    assert main(["dlq", "show", "model.metrics.dlq/1/2"]) == 0
    out = capsys.readouterr().out
    assert "value (3 bytes, bytes)" in out
    assert "00000000  ff 00 7b" in out


def test_a_dead_letter_shows_whether_it_would_pass(filled, capsys):
    """After a fix the operator asks whether the record would pass. If it was decodable when it
    failed, only the agent can tell.
    """
    asyncio.run(fill(filled, letter(46, GOOD, "wrong_type", "$.value: Expected `float`")))
    assert main(["dlq", "show", "model.metrics/1/46", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passes_now"] is True
    assert main(["dlq", "show", "model.metrics/1/46"]) == 0
    assert "now        would pass" in capsys.readouterr().out
    assert main(["dlq", "show", "model.metrics/1/44"]) == 0
    assert "now        unknown, retries_exhausted: it decodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--error", "wrong_type", "--since", "1h"], []),
        (["--error", "wrong_type", "--since", "4h", "--until", "2027-01-15T07:00"], [42]),
        (["--error", "wrong_type", "--error", "invalid_json"], [41, 42, 45]),
        (["--tenant", "other"], [43]),
        (["--key", "0x6f74686572"], [43]),
        (["--partition", "1", "--offsets", "1-2,4"], [42, 43, 45]),
        (["--partition", "1", "--schema-version", "2"], []),
        (["--partition", "1", "--max-age", "3h", "--limit", "2"], [41, 43]),
        (["--topic", "train.results"], []),
    ],
)
def test_filters_choose_the_letters(filled, capsys, options, ids):
    """List and replay use the same filters."""
    assert main(["dlq", "list", "--json", *options]) == 0
    found = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert found == [f"model.metrics/1/{offset}" for offset in ids]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["stats", "--topic", "orders"], 2, "there is no topic orders, and none orders.dlq"),
        (
            ["stats", "--by", "colour"],
            2,
            'Invalid --by "colour". Fields of letters are error, tenant',
        ),
        (["list", "--since", "soon"], 2, 'Invalid --since "soon"'),
        (["list", "--offsets", "9-3"], 2, 'Invalid --offsets "9-3"'),
        (["list", "--key", "0xg"], 2, "--key 0xg is not hexadecimal"),
        (["show", "41"], 2, 'Invalid place "41": use topic/partition/offset'),
        (["show", "model.metrics/9/0"], 2, "model.metrics.dlq has partitions 0 to 3"),
        (["show", "model.metrics/1/99"], 1, "there is no dead letter model.metrics/1/99"),
        (["show", "model.metrics.dlq/1/99"], 1, "there is no dead letter model.metrics.dlq/1/99"),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(filled, capsys, arguments, code, sentence):
    """The sentence names the mistake and the alternative; stdout stays empty."""
    assert main(["dlq", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err


def test_an_empty_queue_is_an_answer(broker, capsys):
    """An empty DLQ is not a failure."""
    for command in ("list", "stats", "export"):
        assert main(["dlq", command, "--json"]) == 0
        assert capsys.readouterr().out == ""
    assert main(["dlq", "stats"]) == 0
    assert "no dead letters there" in capsys.readouterr().err


def test_an_absent_queue_is_unreachable(broker, capsys):
    """An absent DLQ is not an empty one: the pipeline could not write dead letters."""

    async def remove() -> None:
        await (await broker.admin()).delete_topics(["model.metrics.dlq"])

    asyncio.run(remove())
    assert main(["dlq", "stats"]) == 4
    assert "topic model.metrics.dlq does not exist. Run `dia topics apply`" in (
        capsys.readouterr().err
    )


def test_without_a_broker_the_command_fails(monkeypatch, tmp_path, capsys):
    """An outage must not look like an empty DLQ."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.delenv("DIA_KAFKA_BOOTSTRAP", raising=False)
    assert main(["dlq", "stats", "--json"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no Kafka address is known" in captured.err


def test_a_foreign_queue_is_read_by_its_name(broker, capsys):
    """A DLQ of Spring without a declared schema: its records are shown and not judged."""
    headers = (
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", (3).to_bytes(4, "big")),
        ("kafka_dlt-original-offset", (17).to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"java.lang.IllegalStateException"),
    )
    record = OutboundRecord(TopicPartition("orders-dlt", 0), b"k", b"{}", headers, 5)
    asyncio.run(fill(broker, record))
    assert main(["dlq", "list", "--topic", "orders-dlt", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["error"]) == ("orders/3/17", "java.lang.IllegalStateException")
    assert main(["dlq", "show", "orders-dlt/0/0"]) == 0
    out = capsys.readouterr().out
    assert "headers of spring" in out
    assert "its topic is not declared (orders)" in out


def test_a_pointer_is_shown_with_the_value_it_points_to(broker, capsys):
    """A record too large for the DLQ can still be shown."""
    source = TopicPartition("model.metrics", 1)
    value = b'{"big": "' + b"x" * 20_000 + b'"}'
    big = letter(0, value, "missing_field", "$.ts: required", headers=(("h", b"x" * (2 << 20)),))
    assert big.value is None
    asyncio.run(fill(broker, big, OutboundRecord(source, b"acme", value, ())))
    assert main(["dlq", "show", "model.metrics/1/0"]) == 0
    out = capsys.readouterr().out
    assert "too large for the DLQ: its 20,011 bytes are in the source topic" in out
    assert "value (20,011 bytes, JSON)" in out


raw = st.none() | st.binary(max_size=20)


@given(
    key=raw,
    value=raw,
    headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=3).map(tuple),
)
def test_an_export_gives_back_every_byte(key, value, headers):
    """A program in another language can rebuild the record from this line."""
    tp = TopicPartition("x.dlq", 0)
    batch = RecordBatch(tp, 7, 8, [7], [5], [key], [value], [headers])
    line = json.loads(encode(letters(batch, app.topology)[0]))

    def back(holder: dict, name: str) -> bytes | None:
        if f"{name}_base64" in holder:
            return base64.b64decode(holder[f"{name}_base64"])
        return None if holder[name] is None else holder[name].encode()

    assert (line["dlq"], line["partition"], line["offset"]) == (*tp, 7)
    assert (back(line, "key"), back(line, "value")) == (key, value)
    assert tuple((h["name"], back(h, "value")) for h in line["headers"]) == headers
