"""Golden files of one session with `dia replay` and `dia dlq` on a terminal, in a pipe and as JSON.
`UPDATE_GOLDEN=1` writes the files again; check the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
from pathlib import Path

import pytest

from agents.app import MODEL_METRICS, app
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import SystemClock
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.topics.topics import wanted_topics

GOLDEN = Path(__file__).parent / "replay_golden"
AT_MS = 1_760_000_000_000
TOPIC = ("--topic", "model.metrics")
PLAN = ("replay", "plan", *TOPIC, "--actor", "ann")
RENAME = '[{"op": "move", "from": "/name", "path": "/metric"}]'
STORY = (
    ("replay", "status"),
    ("replay", "policies"),
    ("dlq", "breaker", "list"),
    (*PLAN, "--out", "first.json"),
    ("replay", "run", "--plan", "first.json", "--actor", "bob"),
    ("replay", "run", "--plan", "first.json", "--actor", "bob"),
    (*PLAN, "--error", "missing_field", "--patch", RENAME, "--out", "second.json"),
    ("replay", "submit", "--plan", "second.json", "--rate", "200", "--actor", "bob"),
    ("replay", "run", "--plan", "first.json", "--actor", "bob"),
    ("replay", "pause", "199c863ae80-4711", "--reason", "busy", "--actor", "cat"),
    ("replay", "status"),
    ("replay", "resume", "199c863ae80-4711", "--actor", "cat"),
    ("replay", "cancel", "199c863ae80-4711", "--actor", "cat"),
    ("replay", "pause", "199c863ae80-4711", "--actor", "cat"),
    ("dlq", "discard", *TOPIC, "--error", "invalid_json", "--actor", "dan", "--yes"),
    ("dlq", "park", *TOPIC, "--error", "missing_field", "--actor", "dan", "--yes"),
    ("dlq", "park", *TOPIC, "--error", "missing_field", "--actor", "dan", "--yes"),
    ("dlq", "park", *TOPIC),
    ("dlq", "stats", *TOPIC, "--by", "error", "--by", "disposition"),
    PLAN,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def buried(number: int, code: str, value: bytes):
    tp = TopicPartition(MODEL_METRICS.name, 2)
    batch = RecordBatch(tp, 0, 1, [number], [AT_MS], [b"t"], [value], [()])
    failure = Failure(
        code=code, message="why", stage="decode", agent="a", group="dia-group", attempts=1,
        first_failed_ms=AT_MS + 1000 * number,
    )  # fmt: skip
    return dead_letter(Origin.of(batch, 0, 0), failure, "t").record


def event(number: int, **fields: object) -> bytes:
    body = {"event_id": f"e{number}", "tenant_id": "t", "model_id": "m", "ts": AT_MS, "value": 1}
    return json.dumps({**body, **fields}).encode()


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Five dead letters, a fixed clock and fixed ids."""
    broker, rows = MemoryBroker(SystemClock()), MemoryShards(1, SystemClock())
    ids, token_hex = iter(("0815", "4711", "1234")), secrets.token_hex

    async def fill() -> None:
        await (await broker.admin()).create_topics(wanted_topics(app.topology))
        writer = broker.transactional_producer("buries")
        await writer.start()
        await writer.begin()
        good, bad = (
            [event(n, metric="x") for n in range(2)],
            [event(n, name="x") for n in range(2, 4)],
        )
        for number, value in enumerate(good):
            await (await writer.send(buried(number, "unknown_schema_version", value)))
        for number, value in enumerate(bad, 2):
            await (await writer.send(buried(number, "missing_field", value)))
        await (await writer.send(buried(4, "invalid_json", b"{")))
        await writer.commit()

    asyncio.run(fill())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)

    async def shards_of(settings, topology):
        return rows

    monkeypatch.setattr(clients, "shards_of", shards_of)
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: AT_MS + 3_600_000)
    # Plan ids have two bytes, process ids more.
    monkeypatch.setattr("secrets.token_hex", lambda n: next(ids) if n == 2 else token_hex(n))
    monkeypatch.setattr("time.time", lambda: AT_MS / 1000 + 3600)
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)


@pytest.mark.parametrize("form", ["pipe", "json", "terminal"])
def test_the_output_equals_the_golden_file(story, form, monkeypatch):
    """Scripts depend on stdout and exit codes, users on the sentences: every change shows here."""
    told = []
    for arguments in STORY:
        out = Terminal() if form == "terminal" else io.StringIO()
        err = io.StringIO()
        with monkeypatch.context() as streams:
            streams.setattr("sys.stdout", out)
            streams.setattr("sys.stderr", err)
            code = main([*arguments, "--json"] if form == "json" else arguments)
        talk = "".join(f"! {line}\n" for line in err.getvalue().splitlines())
        told.append(f"$ dia {' '.join(arguments)}\n{out.getvalue()}{talk}= {code}\n")
    # The duration of a run varies.
    found = re.sub(r'(seconds"?:? +)[\d.]+', r"\g<1>0.0", "\n".join(told))
    found = re.sub(r"replaying [\d,]+/s", "replaying 0/s", found)
    path = GOLDEN / f"story.{form}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text()
