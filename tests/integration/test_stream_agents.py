"""A Faust-style app on the real stack, whose worker is killed, against an oracle."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path

import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end, read_range
from streams.core.clock import SystemClock
from streams.core.types import TopicPartition
from streams.dev.local.preparation import environment
from tests.faults.worker import FaultWorker

APP = """
    import asyncio
    import msgspec
    from pathlib import Path
    from streams.engine.app.app import App

    class Word(msgspec.Struct):
        word: str
        at: float

    app = App("{name}")
    posts = app.topic("{name}.posts", value_type=str, partitions=2)
    words = app.topic("{name}.words", value_type=Word, key_field="word", partitions=2)
    counted = app.topic("{name}.counted", partitions=2)
    closed = app.topic("{name}.closed", partitions=2)
    counts = app.Table("counts", default=int)

    def on_close(key, value):
        word, (begin, _) = key
        closed.send_soon(key=word, value=[word, begin, value])
        if word == "{failing}" and not Path("{repaired}").exists():
            raise RuntimeError("as long as the file is absent")

    rounds = (
        app.Table("rounds", default=int, on_window_close=on_close)
        .hopping(20, 10, expires=10_000)
        .relative_to_field("at")
    )

    @app.agent(posts)
    async def split(stream):
        async for post in stream:
            at, _, text = post.partition("|")
            for word in text.split():
                await words.send(value=Word(word, float(at)))
            await asyncio.sleep(0.004)

    @app.agent(words)
    async def count(stream):
        async for word in stream:
            counts[word.word] += 1
            rounds[word.word] += 1
            await counted.send(key=word.word, value=[word.word, counts[word.word]])
"""
NAME = "wordcount"
POSTS, WORDS = 600, ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")
KILLS = 4
FAILING = "fox"
"""the word whose windows do not close until the app is repaired"""
FAR = 90_000
"""The time of the last post, after which every window has expired."""
PATIENCE_S = 200.0
CLOCK = SystemClock()


class Words:
    """The app in its own folder, as a user has it: it uses nothing of this repository's tests."""

    def __init__(self, stack, folder: Path) -> None:
        self.folder = folder
        self.repaired = folder / "repaired"
        (folder / "words.py").write_text(
            textwrap.dedent(APP.format(name=NAME, failing=FAILING, repaired=self.repaired))
        )
        root = str(Path(__file__).parents[2])
        self.environ = {
            **environment(stack.home, stack.settings()),
            "PYTHONPATH": os.pathsep.join([root, str(folder)]),
            "DIA_STATE_DIR": str(folder / "state"),
            "DIA_COMMIT_INTERVAL_S": "0.1",
            "DIA_SESSION_TIMEOUT_S": "6",
            "DIA_COMMIT_TIMEOUT_S": "5",
            "DIA_APP": "words:app",
            "DIA_KERNELS": "off",
        }
        self.broker = KafkaBroker(stack.kafka_bootstrap)
        self.started: list[FaultWorker] = []

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words],
            env=self.environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def worker(self) -> FaultWorker:
        (self.folder / "state").mkdir(exist_ok=True)
        started = FaultWorker(
            ["-m", "streams", "-A", "words:app", "worker"],
            slot=0,
            state=self.folder / "state",
            environ=self.environ,
            log=self.folder / "worker.log",
        )
        self.started.append(started)
        return started

    async def post(self, texts) -> None:
        producer = self.broker.plain_producer()
        await producer.start()
        values = [json.dumps(text).encode() for text in texts]
        keys = [f"post-{number}".encode() for number in range(len(values))]
        await (await producer.send_many(f"{NAME}.posts", keys, values))
        await producer.close()

    async def committed(self, topic: str) -> list:
        """Values of the committed records of a topic, by partition. It waits for the end of open
        transactions, since a transaction's markers reach each topic at a different time."""
        reader = await self.broker.reader()
        found = []
        try:
            for number in range(2):
                tp = TopicPartition(topic, number)
                start, end = await reader.beginning_offset(tp), await decided_end(reader, tp, CLOCK)
                async for batch in read_range(reader, tp, start, end, 5000):
                    found += map(json.loads, batch.values)
        finally:
            await reader.close()
        return found


@pytest.fixture
def words(stack, tmp_path):
    made = Words(stack, tmp_path)
    yield made
    for worker in made.started:
        worker.end()


@pytest.mark.long
async def test_words_are_counted_exactly_while_workers_are_killed(words):
    """Each word's counts are 1, 2, 3 ... without a gap or a repeat. Windows whose callback fails are held, also
    over a kill, and close once when it is repaired."""
    rng = random.Random(15)
    texts = [
        f"{number}|" + " ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for number in range(POSTS)
    ]
    last = [f"{FAR}|" + " ".join(WORDS)]
    expected, windows = _expected([*texts, *last])
    total = sum(expected.values())
    words.command("topics", "apply")
    words.command("migrate", "apply")
    seen, part = 0, len(texts) // (KILLS + 1)
    for number in range(KILLS):
        await words.post(texts[number * part : (number + 1) * part])
        worker = words.worker()
        seen = await _until(words, worker, more_than=seen + rng.randint(20, 200))
        worker.kill()
    await words.post(texts[KILLS * part :])
    worker = words.worker()
    await _until(words, worker, more_than=total - len(WORDS) - 1)
    await words.post(last)
    await _until(words, worker, more_than=total - 1)
    held = sum(word == FAILING for word, _ in windows)
    await _until(words, worker, "closed", more_than=len(windows) - held - 1)
    worker.kill()
    others = _closed(await words.committed(f"{NAME}.closed"))
    assert others == {one: count for one, count in windows.items() if one[0] != FAILING}
    words.repaired.touch()
    worker = words.worker()
    await _until(words, worker, "closed", more_than=len(windows) - 1)
    found = defaultdict(list)
    for word, number in await words.committed(f"{NAME}.counted"):
        found[word].append(number)
    assert found == {word: [*range(1, count + 1)] for word, count in expected.items()}
    assert _closed(await words.committed(f"{NAME}.closed")) == windows
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0


def _expected(texts):
    """How often each word occurs in all, and in each window of 20 s that begins every 10 s."""
    counts, windows = defaultdict(int), defaultdict(int)
    for text in texts:
        at, _, said = text.partition("|")
        for word in said.split():
            counts[word] += 1
            for begin in (int(at) // 10 * 10, int(at) // 10 * 10 - 10):
                if int(at) != FAR:
                    windows[word, float(begin)] += 1
    return counts, dict(windows)


def _closed(records):
    """The windows that were closed, each once."""
    found = {(word, begin): count for word, begin, count in records}
    assert len(found) == len(records)
    return found


async def _until(words, worker, topic: str = "counted", *, more_than: int) -> int:
    """Wait for that many committed records of a topic; return their number."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (count := len(await words.committed(f"{NAME}.{topic}"))) <= more_than:
        assert worker.exit_code is None, worker.tail(40)
        assert time.monotonic() < deadline_s, f"{count} of {more_than}: {worker.tail(40)}"
        await asyncio.sleep(0.1)
    return count
