"""A Faust-style app whose workers are killed, against an oracle: withdrawals with a sink and
group_by, tumbling windows that send when they close, and pages of a table."""

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
COUNTRIES = ("NO", "SE", "DK", "FI", "IS")
WITHDRAWALS, KILLS = 6000, 5
FAR_S = 1e7
"""The date of the last withdrawals, after which every window has expired."""
CLOCK = SystemClock()


class Bank(UserApp):
    """The app, and the log of its output."""

    def __init__(self, stack, folder) -> None:
        (folder / "withdrawals.py").write_text(textwrap.dedent(APP))
        self.ports = free_ports(2)
        while self.ports[1] != self.ports[0] + 1:
            self.ports = free_ports(2)
        own = {"DIA_PAGES_PORT": str(self.ports[0]), "DIA_CLICKHOUSE_DATABASE": "withdrawals"}
        super().__init__(stack, folder, "withdrawals:app", folder, own)
        self.broker = KafkaBroker(stack.kafka_bootstrap)

    async def send(self, some) -> None:
        producer = self.broker.plain_producer()
        await producer.start()
        keys = [one["user"].encode() for one in some]
        values = [json.dumps(one).encode() for one in some]
        await (await producer.send_many("withdrawals.made", keys, values))
        await producer.close()

    async def committed(self, topic: str) -> list:
        """Values of the committed records, over both partitions."""
        reader = await self.broker.reader()
        found = []
        try:
            for number in range(2):
                tp = TopicPartition(topic, number)
                start, end = await reader.beginning_offset(tp), await decided_end(reader, tp, CLOCK)
                async for batch in read_range(reader, tp, start, end, 5000):
                    found += [json.loads(value or b"null") for value in batch.values]
        finally:
            await reader.close()
        return found

    def total(self, client, country: str) -> float | None:
        """The page's value; None while it answers that it is unavailable."""
        for port in self.ports:
            try:
                answer = client.get(f"http://127.0.0.1:{port}/totals/{country}")
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 503, answer.text
        return None


@pytest.fixture
def bank(own_stack, tmp_path):
    made = Bank(own_stack, tmp_path)
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
    token = json.loads(bank.dia("edge", "token", "create", "--role", "admin", "--json"))["token"]
    bank.start()
    sent = []
    totals: Counter[str] = Counter()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=30, mounts=DIRECT) as client:
        for step in range(KILLS + 1):
            some = _withdrawals(rng, len(sent), WITHDRAWALS // (KILLS + 1))
            totals.update(_sums(some))
            await bank.send(some)
            sent += some
            shown = {country: bank.total(client, country) for country in COUNTRIES}
            assert all((shown[country] or 0.0) <= totals[country] for country in COUNTRIES), shown
            if step < KILLS:
                bank.kill_one(rng)
                await asyncio.sleep(1)
        bank.settle()
        last = [
            {**one, "id": f"last {country}", "country": country, "amount": 0.0, "date": FAR_S}
            for one, country in zip(_withdrawals(rng, 0, len(COUNTRIES)), COUNTRIES, strict=True)
        ]
        await bank.send(last)
        bank.settle()
        await _until(lambda: {c: bank.total(client, c) for c in COUNTRIES} == dict(totals))
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


async def _until(true) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "the pages do not show the totals"
        await asyncio.sleep(0.5)
