"""A user's package, installed with pip: its workers and a shard are killed, and its own histories
are simulated."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from streams.core.process.proxies import DIRECT
from streams.dev.local.ports import free_ports
from tests.faults.report import Finding
from tests.faults.services import absent
from tests.user_package import Shop, install

ORDERS, KILLS, SEEDS = 30_000, 5, 300
CONSOLE_S = 60.0


@pytest.fixture
def shop(own_stack, tmp_path):
    made = Shop(own_stack, tmp_path)
    yield made
    made.end()


@pytest.mark.once
@pytest.mark.timeout(900)
def test_a_package_is_exact_while_workers_and_a_shard_die(shop, own_stack, report, seed):
    """Five kill -9 of a worker, two of them while a shard is down; poison; the audit; and the
    console shows the topics and the windows of the package."""
    rng, now_ms = random.Random(seed), int(time.time() * 1000)
    shop.dia("topics", "apply")
    shop.dia("migrate", "apply")
    shop.start()
    sent = []
    part = ORDERS // (KILLS + 1)
    for step in range(KILLS + 1):
        if step == 2:
            with absent(own_stack.home, "clickhouse-1"):
                sent += shop.produce(rng, len(sent), part, now_ms)
                shop.kill_one(rng)
                time.sleep(2)
                shop.kill_one(rng)
            continue
        sent += shop.produce(rng, len(sent), part, now_ms)
        if step in (0, 1, 4):
            shop.kill_one(rng)
    began_s = time.monotonic()
    shop.settle()
    recovery_s = time.monotonic() - began_s
    shop.check(sent)
    with _console(shop) as client:
        shown = client.get("/overview").text
        assert "shop.orders" in shown
        assert "shop.paid" in shown
        shop.check_explored(client, sent)
        shop.stop()
    assert "windows hold exactly them" in shop.dia("audit", "--deep")
    report(
        Finding(
            "a user's package: worker kill -9 five times, a shard away meanwhile",
            events=len(sent),
            lost=0,
            doubled=0,
            recovery_s=recovery_s,
            note="own topic, table, windows, ClickHouse table and sink",
        )
    )


@contextmanager
def _console(shop):
    """A client of the console of this package."""
    token = json.loads(shop.dia("token", "create", "--role", "admin", "--json"))["token"]
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "streams", "console", "--port", str(port)]
    served = subprocess.Popen(command, env=shop.environ, cwd=shop.folder)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, mounts=DIRECT, timeout=30
        ) as client:
            _until_served(client)
            yield client
    finally:
        served.terminate()
        served.wait(30)


def _until_served(client):
    deadline_s = time.monotonic() + CONSOLE_S
    while True:
        try:
            client.get("/healthz").raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < deadline_s, "the console does not answer"
            time.sleep(0.2)
        else:
            return


@pytest.mark.once
@pytest.mark.timeout(1500)
def test_a_package_is_exact_in_simulated_histories(tmp_path):
    """Crashes, fenced processes, rebalances, and failing brokers, shards and disks that no test on
    real processes can produce."""
    environ = {**os.environ, "PYTHONPATH": str(install(tmp_path)), "SHOP_PAGES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "streams", "-A", "shop:app", "simulate", "--seeds", str(SEEDS)],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=1400, check=False,
    )  # fmt: skip
    assert f"{SEEDS} histories, all exact" in done.stdout, done.stdout + done.stderr
