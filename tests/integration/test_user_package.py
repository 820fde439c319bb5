"""A user's package, installed with pip: topics, table, hopping windows, ClickHouse tables and a sink of
its own, through every command, with workers killed, against an oracle."""

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
from collections import Counter
from pathlib import Path

import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks import schema
from streams.core.settings import Settings
from streams.dev.local.preparation import environment

pytestmark = pytest.mark.timeout(300)

PYPROJECT = """
    [project]
    name = "shop"
    version = "1.0"

    [build-system]
    requires = ["uv_build"]
    build-backend = "uv_build"

    [tool.uv.build-backend]
    module-root = ""
"""
APP = '''
    """The whole pipeline of a shop."""

    import os
    from pathlib import Path

    import msgspec

    from streams import App, Count, Distinct, Last, Sum, TopK


    class Order(msgspec.Struct):
        id: str
        account: str
        amount: float
        ts: int
        coupon: str | None = None


    class Pages:
        """A sink of our own: one file of lines for each batch."""

        def __init__(self, folder: Path) -> None:
            self.folder = folder
            folder.mkdir(parents=True, exist_ok=True)

        async def write(self, batch) -> None:
            unfinished = self.folder / f".{batch.name}-{os.getpid()}"
            unfinished.write_text("".join(f"{row['id']}\\n" for row in batch.rows()))
            unfinished.rename(self.folder / batch.name)

        async def close(self) -> None:
            pass


    app = App("shop")
    orders = app.topic(
        "shop.orders", value_type=Order, key_field="account", time_field="ts", partitions=2
    )
    totals = app.topic("shop.totals", partitions=2)
    paid = app.topic(
        "shop.paid", value_type=Order, key_field="account", time_field="ts", partitions=2
    )
    takings = app.windows(
        "takings", of=paid, by=("account",), size="10s", step="5s", grace="1h",
        fold={
            "n": Count(), "total": Sum("amount"), "accounts": Distinct("account"), "last": Last("coupon"),
            "top": TopK("account", k=1),
        },
    )
    spent = app.Table("spent", default=float)
    rounds = (
        app.Table("rounds", default=int).hopping(10, 5, expires=3600).relative_to_field("ts")
    )
    sales = app.clickhouse_table(
        "sales",
        columns={"id": str, "account": "LowCardinality(String)", "amount": float},
        order_by=("account", "id"),
        shard_by=("account",),
    )
    pages = app.sink(
        "pages",
        columns={"id": str},
        open=lambda declared, settings: Pages(Path(os.environ["SHOP_PAGES"])),
    )


    @app.agent(orders)
    async def record(stream):
        async for order in stream:
            spent[order.account] += order.amount
            rounds[order.account] += 1
            stream.fact(
                sales, {"id": order.id, "account": order.account, "amount": order.amount}
            )
            stream.fact(pages, {"id": order.id})
            await totals.send(key=order.account, value=[order.id, spent[order.account]])
            await paid.send(value=order)
'''
ORDERS, KILLS = 12_000, 5
PATIENCE_S = 120.0


class Shop:
    """The package in a folder of its own, and `dia` as its user runs it."""

    def __init__(self, stack, folder: Path) -> None:
        source, self.site, self.pages = (folder / name for name in ("source", "site", "pages"))
        (source / "shop").mkdir(parents=True)
        (source / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
        (source / "shop" / "__init__.py").write_text(textwrap.dedent(APP))
        bin_folder = Path(sys.executable).parent
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
             "--disable-pip-version-check", "--no-build-isolation", "--target", self.site, source],
            check=True, env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
        )  # fmt: skip
        self.folder = folder
        self.settings = Settings(
            clickhouse_shards=",".join(stack.shards),
            clickhouse_user=stack.clickhouse_user,
            clickhouse_password_file=str(stack.clickhouse_password_file),
            clickhouse_database="shop",
        )
        self.environ = {
            **environment(stack.home, stack.settings()),
            "PYTHONPATH": str(self.site),
            "SHOP_PAGES": str(self.pages),
            "DIA_APP": "shop:app",
            "DIA_STATE_DIR": str(folder / "state"),
            "DIA_CLICKHOUSE_DATABASE": "shop",
            "DIA_COMMIT_INTERVAL_S": "0.1",
            "DIA_SESSION_TIMEOUT_S": "6",
            "DIA_COMMIT_TIMEOUT_S": "5",
        }
        self.workers: subprocess.Popen[bytes] | None = None

    def dia(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words], env=self.environ, cwd=self.folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def rows(self, sql: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.dia("query", sql, "--json").splitlines()]

    def start(self) -> None:
        with (self.folder / "workers.log").open("ab") as log:
            self.workers = subprocess.Popen(
                [sys.executable, "-m", "streams", "worker", "--processes", "2"],
                env=self.environ, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_one(self, rng: random.Random) -> None:
        """kill -9 of a worker process; its supervisor starts another."""
        assert self.workers is not None
        children = Path(f"/proc/{self.workers.pid}/task/{self.workers.pid}/children")
        os.kill(int(rng.choice(children.read_text().split())), signal.SIGKILL)

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.terminate()
            assert self.workers.wait(60) == 0
            self.workers = None

    def settle(self) -> None:
        """Until every record is read and every row acknowledged; fails after `PATIENCE_S`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            done = subprocess.run(
                [sys.executable, "-m", "streams", "status", "--json"], env=self.environ,
                cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            if done.returncode == 0 and json.loads(done.stdout)["settled"]:
                return
            time.sleep(1)
        raise AssertionError(f"it did not settle: {done.stdout}{done.stderr}")

    def tamper(self, table: str, change: str) -> None:
        """Change one row on each shard, as a fault of the disk would."""
        for server in schema.servers(self.settings, {}):
            server.replica.command(
                f"INSERT INTO {table}_local SELECT * REPLACE ({change}, ver + 1 AS ver) "
                f"FROM {table}_local FINAL LIMIT 1"
            )
            server.replica.close()

    def letters(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.dia("dlq", "list", "--json").splitlines()]

    async def append(self, value: dict[str, object]) -> None:
        """As a client does that checks nothing."""
        producer = KafkaBroker(self.environ["DIA_KAFKA_BOOTSTRAP"]).plain_producer()
        await producer.start()
        key = str(value["account"]).encode()
        await (await producer.send("shop.orders", key, json.dumps(value).encode()))
        await producer.close()

    def page_ids(self) -> Counter[str]:
        files = [path for path in self.pages.iterdir() if not path.name.startswith(".")]
        return Counter(line for path in files for line in path.read_text().splitlines())


@pytest.fixture
def shop(stack, tmp_path):
    made = Shop(stack, tmp_path)
    yield made
    if made.workers is not None:
        made.workers.kill()
        made.workers.wait(30)


def orders(rng: random.Random, first: int, count: int, now_ms: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"o{number}",
            "account": f"account {rng.randrange(40)}",
            "amount": rng.randrange(4000) / 4,
            "ts": now_ms - 30_000 + number,
        }
        for number in range(first, first + count)
    ]


def takings(shop: Shop) -> dict[tuple[object, object], tuple[object, ...]]:
    """The rows of the hopping windows, by account and start in milliseconds."""
    rows = shop.rows("SELECT *, toUnixTimestamp64Milli(w) AS start_ms FROM takings")
    columns = ("n", "total", "accounts", "last", "top", "top_n", "closed")
    return {
        (row["account"], int(str(row["start_ms"]))): tuple(map(_plain, map(row.get, columns)))
        for row in rows
    }


def _plain(value: object) -> object:
    """Integers of 64 bits come as text in JSON."""
    if isinstance(value, list):
        return [*map(_plain, value)]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def expected_takings(
    sent: list[dict[str, object]],
) -> dict[tuple[object, object], tuple[object, ...]]:
    """Windows of 10 s that begin every 5 s; all are live, for their grace is an hour."""
    held: dict[tuple[object, object], list[dict[str, object]]] = {}
    for order in sent:
        last = int(str(order["ts"])) // 5000 * 5000
        for start in (last - 5000, last):
            held.setdefault((order["account"], start), []).append(order)
    return {
        where: (
            len(some), sum(float(str(one["amount"])) for one in some), 1, None,
            [where[0]], [len(some)], False,
        )
        for where, some in held.items()
    }  # fmt: skip


async def test_a_package_of_its_own_is_exact_under_kill_9(shop, tmp_path):
    """The commands of a user's first day, and nothing of this repository but what they install."""
    rng = random.Random(11)
    assert "shop.orders" in shop.dia("topics", "apply")
    shop.dia("migrate", "apply")
    shop.start()
    sent: list[dict[str, object]] = []
    now_ms = int(time.time() * 1000)
    for step in range(KILLS + 1):
        some = orders(rng, len(sent), ORDERS // (KILLS + 1), now_ms)
        lines = [json.dumps(order) for order in some]
        (tmp_path / "some.jsonl").write_text("\n".join(lines))
        shop.dia("produce", "shop.orders", "--file", str(tmp_path / "some.jsonl"))
        sent += some
        if step < KILLS:
            shop.kill_one(rng)
            await asyncio.sleep(1)
    shop.settle()

    by_account: Counter[str] = Counter()
    for order in sent:
        by_account[str(order["account"])] += float(order["amount"])  # type: ignore[arg-type]
    found = shop.rows("SELECT account, count() AS n, sum(amount) AS s FROM sales GROUP BY account")
    assert {row["account"]: row["s"] for row in found} == dict(by_account)
    assert sum(int(row["n"]) for row in found) == len(sent)  # type: ignore[call-overload]
    assert takings(shop) == expected_takings(sent)
    assert shop.page_ids() == Counter(str(order["id"]) for order in sent)

    await shop.append({"id": "bad", "account": "account 0", "amount": "3.5", "ts": now_ms})
    shop.settle()
    assert [letter["error"] for letter in shop.letters()] == ["wrong_type"]
    patch = json.dumps([{"op": "replace", "path": "/amount", "value": 3.5}])
    shop.dia("replay", "plan", "--topic", "shop.orders", "--patch", patch, "--out", "fix.json")
    shop.dia("replay", "run", "--plan", "fix.json")
    shop.settle()
    assert shop.rows("SELECT amount FROM sales WHERE id = 'bad'") == [{"amount": 3.5}]

    shop.stop()
    assert sum(n for n, *_ in takings(shop).values()) == 2 * (len(sent) + 1)
    said = shop.dia("audit", "--deep")
    assert f"= {2 * (len(sent) + 1):,} applied + 0 duplicates + 1 dead letters" in said
    assert f"{len(takings(shop)):,} windows hold exactly them" in said
    assert "NOT RECOUNTED  shop.orders: what the agent record makes of its events" in said
    shop.tamper("takings", "total + 0.25 AS total")
    assert "DIFFERENCE  window: column total" in shop.dia("audit", "--deep", "--wait", "0", code=1)
