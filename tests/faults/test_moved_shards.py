"""From two shards to three and four, and back to three without the first one, while events flow, workers
and movers are killed, and each second readers count."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agents.app import MODEL_METRICS
from streams.connect.sinks import series, shard_maps
from streams.connect.sinks.moved_rows import counted
from streams.connect.sinks.schema import servers
from streams.connect.sinks.window_views.read import read
from streams.connect.sinks.window_views.series_view import SeriesReading
from streams.core.clock import SystemClock
from streams.core.settings import load
from streams.dev.demo.reading import TopicReading
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import Workload
from tests.faults.trial import QUERY_TIMEOUT_S, Trial
from tests.integration.clickhouse.conftest import Front

DAY_S = 86_400
STORED = 3000
CHUNK_S = 2
KILL_EACH_S = 20.0
SLOTS = 2
ASK_S = 1.0
LATE_MAX_S = 60.0
SETTLED_S = 1200.0
"""Two killed workers fall behind a high rate; what waits is read after the last kill."""
DOOMED = "tests.faults.doomed_mover"
UNREACHABLE = 4
"""exit code: a server did not answer"""
RUNS_MAX = 5
SHOWN = (
    "SELECT '{table}', toString(tenant), toUInt32(toDate(w)), sum(n) FROM {table} "
    "WHERE w >= toDateTime({start}, 'UTC') AND w < toDateTime({stop}, 'UTC') GROUP BY 2, 3"
)
LATER = "SELECT sum(n) FROM {table} WHERE w >= toDateTime({stop}, 'UTC')"
HELD = "SELECT count() FROM {table}_local FINAL WHERE w >= toDateTime({start}, 'UTC') AND w < toDateTime({stop}, 'UTC')"
TABLES = ("m1", "h1", "d1")
LOSE = (
    "ALTER TABLE {table}_local DELETE WHERE w >= toDateTime({start}, 'UTC') "
    "AND w < toDateTime({stop}, 'UTC') AND cityHash64(tenant, model, w, inc) % 2 = 0 "
    "SETTINGS mutations_sync = 2"
)


@pytest.fixture
async def grown(own_stack, tmp_path, seed):
    """A trial on two servers of its own, and the addresses of two empty ones."""
    fronts = []
    for number in range(4):
        folder = tmp_path / f"shard-{number}"
        folder.mkdir()
        fronts.append(
            Front(folder, options=("--password-file", str(own_stack.clickhouse_password_file)))
        )
    trial = Trial(own_stack, tmp_path, seed)
    urls = [f"http://127.0.0.1:{front.port}" for front in fronts]
    trial.shards = urls[:2]
    trial.environ |= {"DIA_CLICKHOUSE_SHARDS": ",".join(trial.shards)}
    trial.settings, _ = load(trial.environ)
    await trial.open()
    yield trial, urls[2:]
    await trial.close()
    for front in fronts:
        front.stop()


class StoredDays:
    """Two whole days that are long over, and what readers have to count in them."""

    def __init__(self, trial):
        self.trial = trial
        today = datetime.now(UTC).date()
        self.first = today - timedelta(days=4)
        self.start_s = SystemClock().now_ms() // 1000 // DAY_S * DAY_S - 4 * DAY_S
        self.stop_s = self.start_s + 2 * DAY_S
        self.asked = 0
        self.truth = {}
        self.known = 0

    def feed(self):
        """The generator goes on with events of now."""
        room_ms = 2 * DAY_S * 1000 - 120_000
        shape = {"tenants": 12, "models": 2, "metrics": 1, "poison": 0.002, "duplicates": 0.01}
        workload = Workload(
            start_ms=self.start_s * 1000 + 100_000, step_ms=room_ms / STORED, late_max_s=LATE_MAX_S,
            seed=self.trial._seed, **shape,
        )  # fmt: skip
        generator = Generator(workload)
        self.trial._generator = generator
        self.trial.feed(STORED, rate_per_s=None)

    def go_on(self, rate_per_s):
        """Generate events of now from here on, at this rate of event time."""
        generator = self.trial._generator
        step_ms = 1000 / rate_per_s
        start_ms = SystemClock().now_ms() - 60_000 - generator._next * step_ms
        generator.workload = replace(
            generator.workload, start_ms=round(start_ms), step_ms=step_ms, late=0.02
        )

    def expect(self):
        """Take what was fed so far as what the days have to hold for ever."""
        truth = self.trial.oracle.truth()
        found = Counter()
        columns = (truth.tenant_code.tolist(), truth.w.tolist(), truth.n.tolist())
        for tenant, w, n in zip(*columns, strict=True):
            if self.start_s <= w < self.stop_s:
                found[truth.tenants[tenant], w // DAY_S] += n
        self.truth = dict(found)
        self.known = sum(found.values())
        busiest = int(np.bincount(truth.tenant_code).argmax())
        rows = truth.tenant_code == busiest
        model, metric = truth.model_code[rows][0], truth.metric_code[rows][0]
        self.series = truth.tenants[busiest], truth.models[model], truth.metrics[metric]
        rows &= (truth.model_code == model) & (truth.metric_code == metric)
        rows &= (truth.w >= self.start_s) & (truth.w < self.stop_s)
        self.series_n = int(truth.n[rows].sum())

    async def count(self):
        """In the views of one server after the other, and as `dia query series`. Later days count no more
        than was fed."""
        table = TABLES[self.asked % len(TABLES)]
        # What is asked for is an exact answer, however long a busy machine takes for it.
        settings = replace(self.trial.settings, sink_timeout_s=QUERY_TIMEOUT_S)
        found = await asyncio.to_thread(servers, settings, {})
        for server in found:
            if server.shard == self.asked // len(TABLES) % len(found):
                await asyncio.to_thread(self._judge, server.replica, table)
            server.replica.close()
        tenant, model, metric = self.series
        asked = series.SeriesQuery(
            tenant=tenant, model=model, metric=metric, start_s=self.start_s, stop_s=self.stop_s,
            step_s=DAY_S,
        )  # fmt: skip
        found = await asyncio.to_thread(read, settings, SeriesReading(asked, table))
        assert sum(found.columns["count"]) == self.series_n, table
        self.asked += 1

    def _judge(self, replica, table):
        _, rows = replica.query(SHOWN.format(table=table, start=self.start_s, stop=self.stop_s))
        found = {(tenant, day): int(n) for _, tenant, day, n in rows}
        wrong = {
            key: (self.truth.get(key), found.get(key))
            for key in self.truth.keys() | found.keys()
            if self.truth.get(key) != found.get(key)
        }
        assert not wrong, f"{table} of {replica.url}, expected and found: {wrong}"
        _, rows = replica.query(LATER.format(table=table, stop=self.stop_s))
        later, fed = int(rows[0][0]), self.trial.oracle.produced - self.known
        assert later <= fed, f"{table} of {replica.url} counts {later} of {fed} events"

    async def counted(self, over):
        while not over.is_set():
            await self.count()
            await asyncio.sleep(ASK_S)

    async def held_of_first(self):
        """Rows of the days on the drained shard, counted or not."""
        server = (await asyncio.to_thread(servers, self.trial.settings, {}))[0]
        total = 0
        for table in TABLES:
            sql = HELD.format(table=table, start=self.start_s, stop=self.stop_s)
            _, rows = await asyncio.to_thread(server.replica.query, sql)
            total += int(rows[0][0])
        server.replica.close()
        return total

    async def lose(self):
        """Half of the rows of the moved day, and half of its hours."""
        for server in await asyncio.to_thread(servers, self.trial.settings, {}):
            for table in ("m1", "h1"):
                sql = LOSE.format(table=table, start=self.start_s, stop=self.start_s + DAY_S)
                await asyncio.to_thread(server.replica.command, sql)
            server.replica.close()

    async def held(self):
        """Rows of the days on each server that count there."""
        known = await asyncio.to_thread(shard_maps.told, self.trial.settings)
        found = []
        for number, server in enumerate(await asyncio.to_thread(servers, self.trial.settings, {})):
            total = 0
            for table in TABLES:
                sql = HELD.format(table=table, start=self.start_s, stop=self.stop_s)
                _, rows = await asyncio.to_thread(
                    server.replica.query, sql + counted(known, number)
                )
                total += int(rows[0][0])
            server.replica.close()
            found.append(total)
        return found


class Mover:
    """`dia shards move` as a process, which may kill itself. One that ends because a shard did not answer in
    time is run again, as it says, a few times."""

    def __init__(self, trial, version):
        self.trial = trial
        self.words = (str(version), "--yes", "--batch", "500", "--readers-s", "20", "--json")

    async def killed(self, moment, call, nth):
        note = self.trial.folder / f"mover-{self.words[0]}-{moment}-{call}"
        told = await self._answered(DOOMED, moment, call, str(nth), str(note), *self.words)
        assert note.exists(), told

    async def done(self, days):
        code, _, err = await self._answered("streams", "shards", "move", *self.words)
        assert code == 0, err
        known = await asyncio.to_thread(shard_maps.told, self.trial.settings)
        move = known.maps[int(self.words[0]) - 1]
        assert (len(move.shown), move.unfinished) == (days, frozenset()), move

    async def _answered(self, module, *words):
        """Exit code, and what it said."""
        for again in range(RUNS_MAX, 0, -1):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *words),
                env=self.trial._environ(
                    self.trial.folder / "state", {"sink_timeout_s": QUERY_TIMEOUT_S}
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            if process.returncode != UNREACHABLE or again == 1:
                return process.returncode, out.decode(), err.decode()
        raise AssertionError("RUNS_MAX is positive")


async def reopened(trial):
    """The reading of all shards, the added one too."""
    await trial.reading.close()
    trial.reading = await TopicReading.open(trial.settings, trial.broker, MODEL_METRICS)


async def planned(trial, *words):
    plan = trial.folder / "plan.json"
    await trial.command("shards", "plan", *words, "--out", str(plan))
    await trial.command("shards", "apply", str(plan), "--yes")


async def rebuilt(days):
    """The moved day loses rows, which come back where they were."""
    held = await days.held()
    await days.lose()
    assert await days.held() != held
    day = ("--from", str(days.first), "--to", str(days.first + timedelta(days=1)))
    await days.trial.command("rebuild", *day, "--yes")
    assert await days.held() == held
    for _ in range(3 * len(TABLES)):
        await days.count()


class Load:
    """Events flow and one worker after the other is killed, until `end`."""

    def __init__(self, trial, rate_per_s, workers):
        self.trial = trial
        self.rate_per_s = rate_per_s
        self.workers = workers
        self.kills = 0
        self.over = asyncio.Event()
        self.began_s, self.before = time.monotonic(), trial.oracle.produced
        self._tasks = [asyncio.create_task(one) for one in (self._feed(), self._kill())]

    def also(self, counting):
        self._tasks.append(asyncio.create_task(counting))

    def check(self):
        """Raises what ended one of the tasks: a wrong count, a worker that does not come back."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self):
        self.over.set()
        await asyncio.gather(*self._tasks)

    @property
    def measured_per_s(self):
        return (self.trial.oracle.produced - self.before) / (time.monotonic() - self.began_s)

    async def _feed(self):
        while not self.over.is_set():
            self.trial.feed(self.rate_per_s * CHUNK_S, rate_per_s=self.rate_per_s)
            await self.trial.fed()

    async def _kill(self):
        while not self.over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), KILL_EACH_S)
                return
            slot = self.kills % SLOTS
            self.workers[slot].kill()
            self.workers[slot] = self.trial.worker(slot)
            self.kills += 1
            await self.workers[slot].ready()


async def grown_to_four(trial, days, added):
    """The first day is spread over three shards, then both days over four."""
    both = f"{days.first}..{days.first + timedelta(days=1)}"
    await planned(trial, "add", added[0])
    await planned(trial, "move", "--days", str(days.first))
    spread = Mover(trial, 3)
    await spread.killed("after", "copy", 2)
    await spread.done(1)
    assert (await days.held())[2]
    await planned(trial, "add", added[1])
    await planned(trial, "move", "--days", both)
    spread = Mover(trial, 5)
    await spread.killed("before", "copy", 3)
    await spread.done(2)
    assert (await days.held())[3]


async def back_to_three(trial, days):
    """The first shard gets no windows of later days, and its stored days leave it."""
    both = f"{days.first}..{days.first + timedelta(days=1)}"
    await planned(trial, "remove", "0")
    await planned(trial, "move", "--days", both, "--drain", "0")
    drain = Mover(trial, 7)
    await drain.killed("before", "enter", 2)
    await drain.killed("after", "_delete", 2)
    await drain.done(2)
    held = await days.held()
    assert held[0] == 0
    assert all(held[1:])


@pytest.mark.timeout(7200)
async def test_from_two_shards_to_four_and_back_to_three(grown, moved_rate, report):
    """Each second readers count the stored days exactly, while events flow and workers and movers are
    killed. Then rows of the first day are lost, and rebuilt."""
    trial, added = grown
    days = StoredDays(trial)
    workers = [trial.worker(slot) for slot in range(SLOTS)]
    await asyncio.gather(*(worker.ready() for worker in workers))
    days.feed()
    await trial.fed()
    await trial.settled()
    days.expect()
    days.go_on(moved_rate)
    load = Load(trial, moved_rate, workers)
    load.also(days.counted(load.over))
    await grown_to_four(trial, days, added)
    load.check()
    await back_to_three(trial, days)
    load.check()
    rate_per_s = load.measured_per_s
    await load.end()
    await trial.settled(SETTLED_S)
    assert await days.held_of_first() == 0
    assert load.kills
    await rebuilt(days)

    await reopened(trial)
    note = (
        f"2 to 3 to 4 shards, the first one drained; {rate_per_s:,.0f} events/s, {load.kills} kills of "
        f"workers, {days.asked} counts of stored days, all exact; half of a day lost and rebuilt"
    )
    report(await trial.exact("days move between shards", note))
