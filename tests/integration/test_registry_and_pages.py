"""An app with schemas in a registry, pages, a global table and commands, on the real stack: workers
are killed, the registry is unavailable for a time, and every page shows an oracle's values."""

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
from contextlib import suppress
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


def _two_free_ports() -> int:
    """The first of two adjacent ports outside the ranges of other stacks and of outgoing
    connections."""
    candidates = range(10_000, 18_000, 2)
    shuffled = random.Random().sample(candidates, len(candidates))
    return next(port for port in shuffled if is_free(port) and is_free(port + 1))


async def _until(true, what) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await true():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.5)


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


@pytest.mark.timeout(900)
async def test_pages_show_the_oracles_values_through_kill_9_and_an_outage(bank, registry):
    """A page with too many or too few events stays wrong: totals only grow, so no page may ever
    exceed what was sent."""
    rng = random.Random(5)
    bank.dia("topics", "apply")
    bank.dia("migrate", "apply")
    shown = json.loads(bank.dia("edge", "token", "create", "--role", "admin", "--json"))["token"]
    bank.start()
    bank.order()
    headers = {"Authorization": f"Bearer {shown}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, mounts=DIRECT) as client:

        async def exact() -> bool:
            wanted: Counter[str] = Counter()
            for number in range(bank.sent):
                wanted[f"a{number % 9}"] += number
            latest = {f"a{number % 9}": number for number in range(bank.sent)}
            whole = [await bank.page(client, port, "/latest") for port in bank.ports]
            found = {
                (account, port): await bank.page(client, port, f"/totals/{account}")
                for account in wanted
                for port in bank.ports
            }
            over = [at for at, n in found.items() if n is not None and n > wanted[at[0]]]
            assert not over, (over, found, wanted)
            totals = all(n == wanted[account] for (account, _), n in found.items())
            return totals and all(one == latest for one in whole)

        def log() -> str:
            return (bank.folder / "workers.log").read_text()[-4000:]

        await _until(exact, log)
        for _ in range(KILLS):
            bank.kill(rng.randrange(2))
            bank.order()
            await _until(exact, log)

        # A starting process has no schema in memory: with the registry unavailable, it waits.
        bank.stop()
        bank.order()
        registry.mode = "500"
        bank.start()

        async def waits() -> bool:
            return any(
                "schema_registry_unavailable" in held["waits_for"]
                for held in bank.worker_statuses()
            )

        await _until(waits, log)
        assert not await exact()
        registry.mode = ""
        await _until(exact, log)

    assert bank.dia("dlq", "list", "--json") == ""
