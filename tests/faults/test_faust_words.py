"""Faust-style apps whose workers are killed, against oracles: withdrawals with a sink and group_by,
tumbling windows that send when they close, and pages of a table; visits with lists, filters, sets,
sliding windows, and tasks beside the agents."""

from __future__ import annotations

import asyncio
import json
import random
import textwrap
import time
from collections import Counter

import httpx
import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end, read_range
from streams.core.clock import SystemClock
from streams.core.process.proxies import DIRECT
from streams.core.types import TopicPartition
from streams.dev.local.ports import free_ports
from tests.faults.report import Finding
from tests.user_app import PATIENCE_S, UserApp

APP = '''
    """Withdrawals of a bank, in Faust's words."""

    import faust
    from streams import App

    class Withdrawal(faust.Record, serializer="json"):
        id: str
        user: str
        country: str
        amount: float
        date: float

    app = App("withdrawals", broker="kafka://", store="rocksdb://", topic_partitions=2)
    withdrawals = app.topic("withdrawals.made", value_type=Withdrawal)
    large = app.topic("withdrawals.large", value_type=Withdrawal)
    seen = app.topic("withdrawals.seen")
    closed = app.topic("withdrawals.closed")
    totals = app.Table("totals", default=float)

    def on_close(key, value):
        country, (begin, _) = key
        closed.send_soon(key=country, value=[country, begin, value])

    minutes = (
        app.Table("minutes", default=int, on_window_close=on_close)
        .tumbling(60, expires=1e6)
        .relative_to_field("date")
    )

    @app.agent(large)
    async def tell(stream):
        async for withdrawal in stream:
            await seen.send(key=withdrawal.user, value=withdrawal.id)

    @app.agent(withdrawals, sink=[large])
    async def track(stream):
        async for withdrawal in stream.group_by(Withdrawal.country):
            totals[withdrawal.country] += withdrawal.amount
            minutes[withdrawal.country] += 1
            if withdrawal.amount > 900:
                yield withdrawal

    @app.page("/totals/{country}")
    @app.table_route(table=totals, match_info="country")
    async def total(web, request, country):
        return web.json(totals[country])
'''
VISITS = '''
    """Visits of pages, in more of Faust's words."""

    from streams import App, Record

    class Visit(Record):
        id: str
        page: str
        user: str
        at: float

    app = App("visits", topic_partitions=2)
    made = app.topic("visits.made", value_type=Visit)
    admitted = app.topic("visits.admitted", value_type=Visit)
    told = app.topic("visits.told")
    ticks = app.topic("visits.ticks")
    users = app.SetTable("users")
    recent = app.Table("recent", default=int).sliding(60, 30, expires=1e6).relative_to_field("at")

    @app.agent(admitted)
    async def number(stream):
        async for position, visit in stream.enumerate():
            recent[visit.page] += 1
            value = [visit.id, position, recent[visit.page].value()]
            await told.send(key=visit.page, value=value)

    @app.agent(made)
    async def admit(stream):
        async for visits in stream.filter(lambda one: one.user != "robot").take(20, within=0.5):
            for visit in visits:
                users[visit.page].add(visit.user)
                await number.send(key=visit.page, value=visit)

    @app.task
    async def begin():
        await ticks.send(value="task")

    @app.timer(interval=1.0)
    async def often():
        await ticks.send(value="timer")

    @app.crontab("* * * * *")
    async def each_minute():
        await ticks.send(value="crontab")

    @app.page("/users/{page}")
    @app.table_route(table=users, match_info="page")
    async def seen(web, request, page):
        return web.json(sorted(users[page]))
'''
BEFORE_S, AFTER_S = 60, 30
PAGES = ("home", "news", "shop", "help")
COUNTRIES = ("NO", "SE", "DK", "FI", "IS")
WITHDRAWALS, KILLS = 6000, 5
FAR_S = 1e7
"""The date of the last withdrawals, after which every window has expired."""
CLOCK = SystemClock()


class FaustApp(UserApp):
    """An app in module ``name``, the log of its output, and its pages."""

    def __init__(self, stack, folder, name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        self.ports = free_ports(2)
        while self.ports[1] != self.ports[0] + 1:
            self.ports = free_ports(2)
        own = {"DIA_PAGES_PORT": str(self.ports[0]), "DIA_CLICKHOUSE_DATABASE": name}
        super().__init__(stack, folder, f"{name}:app", folder, own)
        self.broker = KafkaBroker(stack.kafka_bootstrap)

    def client(self) -> httpx.Client:
        """It may read pages."""
        made = json.loads(self.dia("token", "create", "--role", "admin", "--json"))
        headers = {"Authorization": f"Bearer {made['token']}"}
        return httpx.Client(headers=headers, timeout=30, mounts=DIRECT)

    async def send(self, topic: str, key: str, some) -> None:
        """``key``: the field that is the key of each record."""
        producer = self.broker.plain_producer()
        await producer.start()
        keys = [one[key].encode() for one in some]
        values = [json.dumps(one).encode() for one in some]
        await (await producer.send_many(topic, keys, values))
        await producer.close()

    async def committed(self, topic: str) -> list:
        """Values of the committed records, over both partitions."""
        first, second = await self.committed_parts(topic)
        return first + second

    async def committed_parts(self, topic: str) -> list[list]:
        """As `committed`, for each partition in its order."""
        reader = await self.broker.reader()
        found: list[list] = [[], []]
        try:
            for number, values in enumerate(found):
                tp = TopicPartition(topic, number)
                start, end = await reader.beginning_offset(tp), await decided_end(reader, tp, CLOCK)
                async for batch in read_range(reader, tp, start, end, 5000):
                    values += [json.loads(value or b"null") for value in batch.values]
        finally:
            await reader.close()
        return found

    def shown(self, client, path: str):
        """The page's value; None while it answers that it is unavailable."""
        for port in self.ports:
            try:
                answer = client.get(f"http://127.0.0.1:{port}{path}")
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 503, answer.text
        return None


@pytest.fixture
def bank(own_stack, tmp_path):
    made = FaustApp(own_stack, tmp_path, "withdrawals", APP)
    yield made
    made.end()


def _withdrawals(rng, first, count):
    return [
        {
            "id": f"w{number}",
            "user": f"user {rng.randrange(50)}",
            "country": rng.choice(COUNTRIES),
            "amount": rng.randrange(4000) / 4,
            "date": float(rng.randrange(600)),
        }
        for number in range(first, first + count)
    ]


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_faust_words_are_exact_while_workers_die(bank, report, seed):
    """The records that a sink passed on, each closed window and each total, once; no page ever
    shows more than was withdrawn."""
    rng = random.Random(seed)
    bank.dia("topics", "apply")
    bank.dia("migrate", "apply")
    bank.start()
    sent = []
    totals: Counter[str] = Counter()
    with bank.client() as client:
        for step in range(KILLS + 1):
            some = _withdrawals(rng, len(sent), WITHDRAWALS // (KILLS + 1))
            totals.update(_sums(some))
            await bank.send("withdrawals.made", "user", some)
            sent += some
            shown = {country: bank.shown(client, f"/totals/{country}") for country in COUNTRIES}
            assert all((shown[country] or 0.0) <= totals[country] for country in COUNTRIES), shown
            if step < KILLS:
                bank.kill_one(rng)
                await asyncio.sleep(1)
        bank.settle()
        last = [
            {**one, "id": f"last {country}", "country": country, "amount": 0.0, "date": FAR_S}
            for one, country in zip(_withdrawals(rng, 0, len(COUNTRIES)), COUNTRIES, strict=True)
        ]
        await bank.send("withdrawals.made", "user", last)
        bank.settle()
        await _until(
            lambda: {c: bank.shown(client, f"/totals/{c}") for c in COUNTRIES} == dict(totals)
        )
    large = Counter(one["id"] for one in sent if one["amount"] > 900)
    assert Counter(await bank.committed("withdrawals.seen")) == large
    windows = Counter((one["country"], one["date"] // 60 * 60) for one in sent)
    closed = await bank.committed("withdrawals.closed")
    assert sorted(closed) == sorted([*place, count] for place, count in windows.items())
    assert bank.letters() == []
    report(
        Finding(
            "Faust's words: worker kill -9 five times",
            events=len(sent),
            lost=0,
            doubled=0,
            note="sink, group_by, tumbling windows, on_window_close, table_route",
        )
    )


def _sums(some):
    sums: Counter[str] = Counter()
    for one in some:
        sums[one["country"]] += one["amount"]
    return sums


@pytest.fixture
def visits(own_stack, tmp_path):
    made = FaustApp(own_stack, tmp_path, "visits", VISITS)
    yield made
    made.end()


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_more_words_are_exact_while_workers_die(visits, report, seed):
    """Each admitted visit is sent once, with the number of visits in its span; the sets hold all users;
    tasks, timers and crontabs run in the processes that follow the killed ones."""
    rng = random.Random(seed)
    visits.dia("topics", "apply")
    visits.dia("migrate", "apply")
    visits.start()
    sent = []
    for step in range(KILLS + 1):
        some = _visits(rng, len(sent), WITHDRAWALS // (KILLS + 1))
        await visits.send("visits.made", "page", some)
        sent += some
        if step < KILLS:
            visits.kill_one(rng)
            await asyncio.sleep(1)
    visits.settle()
    wanted = {one["id"]: one for one in sent if one["user"] != "robot"}
    parts = await visits.committed_parts("visits.told")
    assert Counter(told[0] for part in parts for told in part) == Counter([*wanted])
    for part in parts:
        _check_told(part, wanted)
    users = {
        page: sorted({o["user"] for o in wanted.values() if o["page"] == page}) for page in PAGES
    }
    with visits.client() as client:
        await _until(lambda: {p: visits.shown(client, f"/users/{p}") for p in PAGES} == users)
    await _ticks_again(visits)
    assert visits.letters() == []
    report(
        Finding(
            "more of Faust's words: worker kill -9 five times",
            events=len(sent),
            lost=0,
            doubled=0,
            note="filter, take, enumerate, agent.send, SetTable, sliding, task, timer, crontab",
        )
    )


def _visits(rng, first, count):
    return [
        {
            "id": f"v{number}",
            "page": rng.choice(PAGES),
            "user": rng.choice(["robot", *(f"user {one}" for one in range(40))]),
            "at": float(rng.randrange(3000)),
        }
        for number in range(first, first + count)
    ]


def _check_told(part, wanted) -> None:
    """Positions begin anew only with a new stream; a value counts the visits before it in its span."""
    seen: dict[str, list[float]] = {page: [] for page in PAGES}
    last = -1
    for number, position, value in part:
        assert position in (0, last + 1)
        last = position
        visit = wanted[number]
        times = seen[visit["page"]]
        times.append(visit["at"])
        low, high = visit["at"] - BEFORE_S, visit["at"] + AFTER_S
        assert value == sum(low <= at <= high for at in times)


async def _ticks_again(visits) -> None:
    """The timer and the crontab, which runs once a minute."""
    before = [len(part) for part in await visits.committed_parts("visits.ticks")]
    deadline_s, ran = time.monotonic() + PATIENCE_S, set()
    while not {"timer", "crontab"} <= ran:
        assert time.monotonic() < deadline_s, f"only {ran} ran after the kills"
        await asyncio.sleep(1)
        parts = await visits.committed_parts("visits.ticks")
        ran = {tick for part, count in zip(parts, before, strict=True) for tick in part[count:]}
    assert (await visits.committed("visits.ticks")).count("task") >= 2


async def _until(true) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "the pages do not show what was counted"
        await asyncio.sleep(0.5)
