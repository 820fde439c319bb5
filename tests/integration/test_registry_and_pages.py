"""An app with schemas in a registry, pages, a global table and commands, on the real stack: every page
shows an oracle's values; at length, while workers are killed and the registry is unavailable."""

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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from streams.core.process.proxies import DIRECT
from streams.dev.local.ports import is_free
from streams.dev.local.preparation import environment
from tests.registry_server import registry_server

APP = '''
    """A bank, in Faust's words."""

    from streams import App, Avro, JsonSchema, Record

    class Order(Record):
        account: str
        amount: int = 0

    app = App("pagebank")
    orders = app.topic(
        "pagebank.orders", value_type=Order, key_field="account", partitions=4, codec=Avro()
    )
    told = app.topic(
        "pagebank.told", value_type=Order, key_field="account", partitions=4, codec=JsonSchema()
    )
    totals = app.Table("totals", default=int)
    latest = app.GlobalTable("latest", default=int)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount
            latest[order.account] = order.amount
            await told.send(value=order)

    @app.page("/totals/{account}")
    @app.table_route(table=totals, match_info="account")
    async def total(web, request, account):
        return web.json(totals[account])

    @app.page("/latest")
    async def whole(web, request):
        return web.json(dict(latest.items()))

    @app.command()
    async def order(self, first: int, count: int):
        "Send orders whose amounts are numbered from FIRST on."
        for number in range(first, first + count):
            await orders.send(value=Order(account=f"a{number % 9}", amount=number))

    if __name__ == "__main__":
        app.main()
'''
EACH, KILLS = 60, 2
PATIENCE_S = 200.0


class Bank:
    """The app in its own folder, run as a script."""

    def __init__(self, stack, folder: Path, registry_url: str) -> None:
        (folder / "pagebank.py").write_text(textwrap.dedent(APP))
        self.folder = folder
        self.script = str(folder / "pagebank.py")
        first = _two_free_ports()
        self.ports = (first, first + 1)
        self.environ = {
            **environment(stack.home, stack.settings()),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "DIA_STATE_DIR": str(folder / "state"),
            "DIA_COMMIT_INTERVAL_S": "0.1",
            "DIA_SESSION_TIMEOUT_S": "6",
            "DIA_COMMIT_TIMEOUT_S": "5",
            "DIA_SCHEMA_REGISTRY_URL": registry_url,
            "DIA_PAGES_PORT": str(first),
            "DIA_CLICKHOUSE_DATABASE": "pagebank",
            "DIA_KERNELS": "off",
        }
        self.workers: subprocess.Popen[bytes] | None = None
        self.sent = 0

    def dia(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, self.script, *words], env=self.environ, cwd="/",
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def order(self) -> None:
        self.dia("run", "order", str(self.sent), str(EACH))
        self.sent += EACH

    def start(self) -> None:
        with (self.folder / "workers.log").open("ab") as log:
            self.workers = subprocess.Popen(
                [sys.executable, self.script, "worker", "--processes", "2"],
                env=self.environ, cwd="/", stdout=log, stderr=log,
            )  # fmt: skip

    def worker_statuses(self) -> list[dict[str, str]]:
        """The partition status that each worker process reports."""
        files = sorted((self.folder / "state" / "workers").glob("*.json"))
        return [held for file in files for held in json.loads(file.read_text())["partitions"]]

    def kill(self, slot: int) -> None:
        """kill -9; the supervisor starts another process."""
        file = self.folder / "state" / "workers" / f"{slot}.json"
        with suppress(ProcessLookupError):
            os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.terminate()
            assert self.workers.wait(60) == 0
            self.workers = None

    async def page(self, client: httpx.AsyncClient, port: int, path: str) -> object:
        """The page's content; None while it answers that it is unavailable."""
        try:
            answer = await client.get(f"http://127.0.0.1:{port}{path}")
        except httpx.TransportError:
            return None
        if answer.status_code == 503:
            return None
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self) -> str:
        return (self.folder / "workers.log").read_text()[-4000:]

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[httpx.AsyncClient]:
        """Topics, tables, workers and the first orders exist. The client may read every page."""
        self.dia("topics", "apply")
        self.dia("migrate", "apply")
        shown = json.loads(self.dia("token", "create", "--role", "admin", "--json"))
        self.start()
        self.order()
        headers = {"Authorization": f"Bearer {shown['token']}"}
        async with httpx.AsyncClient(headers=headers, timeout=60, mounts=DIRECT) as client:
            yield client

    async def exact(self, client: httpx.AsyncClient) -> bool:
        """Whether every process shows all orders. None may ever show more than was sent."""
        wanted: Counter[str] = Counter()
        for number in range(self.sent):
            wanted[f"a{number % 9}"] += number
        latest = {f"a{number % 9}": number for number in range(self.sent)}
        whole = [await self.page(client, port, "/latest") for port in self.ports]
        found = {
            (account, port): await self.page(client, port, f"/totals/{account}")
            for account in wanted
            for port in self.ports
        }
        over = [at for at, n in found.items() if n is not None and n > wanted[at[0]]]
        assert not over, (over, found, wanted)
        totals = all(n == wanted[account] for (account, _), n in found.items())
        return totals and all(one == latest for one in whole)


def _two_free_ports() -> int:
    """The first of two adjacent ports outside the ranges of other stacks and of outgoing
    connections."""
    candidates = range(10_000, 18_000, 2)
    shuffled = random.Random().sample(candidates, len(candidates))
    return next(port for port in shuffled if is_free(port) and is_free(port + 1))


@pytest.fixture
def registry():
    with registry_server() as running:
        yield running


@pytest.fixture
def bank(stack, tmp_path, registry):
    made = Bank(stack, tmp_path, registry.url)
    yield made
    if made.workers is not None:
        made.workers.kill()
        made.workers.wait(30)


async def _exact(bank, client) -> None:
    """Wait until every page shows all orders."""
    deadline = time.monotonic() + PATIENCE_S
    while not await bank.exact(client):
        assert time.monotonic() < deadline, bank.log()
        await asyncio.sleep(0.2)


async def test_every_process_shows_the_oracles_values(bank):
    """Each page asks the process that owns the partition; schemas are in the registry."""
    async with bank.begun() as client:
        await _exact(bank, client)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_pages_show_the_oracles_values_through_kill_9_and_an_outage(bank, registry):
    """A page with too many or too few events stays wrong: totals only grow, so no page may ever
    exceed what was sent."""
    rng = random.Random(5)
    async with bank.begun() as client:
        await _exact(bank, client)
        for _ in range(KILLS):
            bank.kill(rng.randrange(2))
            bank.order()
            await _exact(bank, client)

        # A starting process has no schema in memory: with the registry unavailable, it waits.
        bank.stop()
        bank.order()
        registry.mode = "500"
        bank.start()
        await _waiting(bank)
        assert not await bank.exact(client)
        registry.mode = ""
        await _exact(bank, client)

    assert bank.dia("dlq", "list", "--json") == ""


async def _waiting(bank) -> None:
    """Wait until a process reports that it waits for the registry."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(
        "schema_registry_unavailable" in held["waits_for"] for held in bank.worker_statuses()
    ):
        assert time.monotonic() < deadline, bank.log()
        await asyncio.sleep(0.2)
