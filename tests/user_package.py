"""A user's package in its own folder: topics, table, hopping windows, ClickHouse tables and a sink;
`dia` as its user runs it; and an oracle of the expected results."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import httpx

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks import schema
from streams.core.settings import Settings
from streams.core.words.moments import iso_s
from tests.user_app import UserApp

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
    totals = app.topic("shop.totals", partitions=2, compacting=True)
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


def install(folder: Path) -> Path:
    """The package, installed with pip into a folder below ``folder``, which is returned."""
    source, site = folder / "source", folder / "site"
    (source / "shop").mkdir(parents=True)
    (source / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    (source / "shop" / "__init__.py").write_text(textwrap.dedent(APP))
    bin_folder = Path(sys.executable).parent
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--disable-pip-version-check", "--no-build-isolation", "--target", site, source],
        check=True, env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    return site


COLUMNS = ("n", "total", "accounts", "last", "top", "top_n", "closed")
"""of the windows, besides their key"""


class Shop(UserApp):
    """The installed package on a stack."""

    def __init__(self, stack, folder: Path) -> None:
        site, self.pages = install(folder), folder / "pages"
        self.settings = Settings(
            clickhouse_shards=",".join(stack.shards),
            clickhouse_user=stack.clickhouse_user,
            clickhouse_password_file=str(stack.clickhouse_password_file),
            clickhouse_database="shop",
        )
        own = {"SHOP_PAGES": str(self.pages), "DIA_CLICKHOUSE_DATABASE": "shop"}
        super().__init__(stack, folder, "shop:app", site, own)

    def rows(self, sql: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.dia("query", sql, "--json").splitlines()]

    def tamper(self, table: str, change: str) -> None:
        """Change one row on each shard, as a disk fault would."""
        for server in schema.servers(self.settings, {}):
            server.replica.command(
                f"INSERT INTO {table}_local SELECT * REPLACE ({change}, ver + 1 AS ver) "
                f"FROM {table}_local FINAL LIMIT 1"
            )
            server.replica.close()

    def produce(
        self, rng: random.Random, first: int, count: int, now_ms: int
    ) -> list[dict[str, object]]:
        """Send this many orders, numbered from ``first`` on; return them."""
        some = orders(rng, first, count, now_ms)
        file = self.folder / "some.jsonl"
        file.write_text("\n".join(map(json.dumps, some)))
        self.dia("produce", "shop.orders", "--file", str(file))
        return some

    def check(self, sent: list[dict[str, object]]) -> None:
        """Check that tables, windows and the sink hold exactly these orders."""
        by_account: Counter[str] = Counter()
        for order in sent:
            by_account[str(order["account"])] += float(order["amount"])  # type: ignore[arg-type]
        found = self.rows(
            "SELECT account, count() AS n, sum(amount) AS s FROM sales GROUP BY account"
        )
        assert {row["account"]: row["s"] for row in found} == dict(by_account)
        assert sum(int(row["n"]) for row in found) == len(sent)  # type: ignore[call-overload]
        assert takings(self) == expected_takings(sent)
        assert self.page_ids() == Counter(str(order["id"]) for order in sent)

    def check_series(self, sent: list[dict[str, object]]) -> None:
        """Check that `dia query series` tells the windows of one account as they are."""
        account = str(sent[0]["account"])
        key = ("--windows", "takings", "--key", f"account={account}")
        said = [*map(json.loads, self.dia("query", "series", *key, "--json").splitlines())]
        expected = {iso_s(at_s): row for at_s, row in series_of(sent, account).items()}
        assert {row["t"]: tuple(map(row.get, COLUMNS)) for row in said} == expected

    def check_explored(self, client: httpx.Client, sent: list[dict[str, object]]) -> None:
        """Check that Explore's question has the same answer."""
        account = str(sent[0]["account"])
        asked = {"windows": "takings", "account": account, "from": "-1h"}
        [found] = client.get("/api/range", params=asked).json()["series"]
        rows = zip(*(found["columns"][name] for name in ("t", *COLUMNS)), strict=True)
        assert {t: (*row,) for t, *row in rows} == series_of(sent, account)

    async def append(self, value: dict[str, object]) -> None:
        """Append as a client does that validates nothing."""
        producer = KafkaBroker(self.environ["DIA_KAFKA_BOOTSTRAP"]).plain_producer()
        await producer.start()
        key = str(value["account"]).encode()
        await (await producer.send("shop.orders", key, json.dumps(value).encode()))
        await producer.close()

    def page_ids(self) -> Counter[str]:
        files = [path for path in self.pages.iterdir() if not path.name.startswith(".")]
        return Counter(line for path in files for line in path.read_text().splitlines())


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


def takings(shop: Shop) -> dict[tuple[object, int], tuple[object, ...]]:
    """The rows of the hopping windows, by account and start in milliseconds."""
    rows = shop.rows("SELECT *, toUnixTimestamp64Milli(w) AS start_ms FROM takings")
    return {
        (row["account"], int(str(row["start_ms"]))): tuple(map(_plain, map(row.get, COLUMNS)))
        for row in rows
    }


def _plain(value: object) -> object:
    """JSON contains 64-bit integers as text."""
    if isinstance(value, list):
        return [*map(_plain, value)]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def expected_takings(
    sent: list[dict[str, object]],
) -> dict[tuple[object, int], tuple[object, ...]]:
    """Windows of 10 s that begin every 5 s; all are open, because their grace is an hour."""
    held: dict[tuple[object, int], list[dict[str, object]]] = {}
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


def series_of(sent: list[dict[str, object]], account: str) -> dict[int, tuple[object, ...]]:
    """The windows of one account by their start in seconds."""
    every = expected_takings(sent).items()
    return {start_ms // 1000: row for (owner, start_ms), row in every if owner == account}
