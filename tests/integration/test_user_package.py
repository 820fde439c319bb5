"""A user's package, installed with pip, against an oracle; at length with killed workers and through
every command. tests/faults/test_user_package.py kills more workers, and a shard."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from tests.user_package import Shop, takings

pytestmark = pytest.mark.timeout(300)

ORDERS, KILLS = 12_000, 2


@pytest.fixture
def shop(stack, tmp_path):
    made = Shop(stack, tmp_path)
    made.environ["DIA_KERNELS"] = "off"
    yield made
    made.end()


def test_a_separate_package_is_exact(shop):
    """Its tables, hopping windows and sink need only the installed package, in any folder."""
    assert "shop.orders" in shop.dia("topics", "apply")
    shop.dia("migrate", "apply")
    shop.start()
    sent = shop.produce(random.Random(11), 0, ORDERS // (KILLS + 1), int(time.time() * 1000))
    shop.settle()
    shop.check(sent)
    shop.check_series(sent)
    shop.stop()


@pytest.mark.long
async def test_a_separate_package_is_exact_under_kill_9(shop, tmp_path):
    """The commands of a user's first day; only the installed wheel of this repository is used."""
    assert "shop.orders" in shop.dia("topics", "apply")
    shop.dia("migrate", "apply")
    shop.start()
    rng, now_ms = random.Random(11), int(time.time() * 1000)
    sent: list[dict[str, object]] = []
    for step in range(KILLS + 1):
        sent += shop.produce(rng, len(sent), ORDERS // (KILLS + 1), now_ms)
        if step < KILLS:
            shop.kill_one(rng)
            await asyncio.sleep(1)
    shop.settle()
    shop.check(sent)

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
