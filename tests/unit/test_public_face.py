"""What `import streams` gives: documented, typed for a user's package, and nothing before it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import streams

ROOT = Path(__file__).parents[2]

PACKAGE = """
from streams import App, Codec, EventBatch, OutboundRecord, Record, Scope, Topic, TopicPartition
from tables import SEEN_EVENTS

app = App("acme")


class Order(Record):
    account: str
    note: str = ""
    amount: float


orders: Topic = app.topic("orders", value_type=Order, key_field="account", codec="msgpack")
totals = app.topic("totals", value_type=Order, key_field="account")


@app.batch_agent(orders, tables=(SEEN_EVENTS,))
def count(batch: EventBatch[Order], scope: Scope) -> None:
    for order in batch.events:
        amount: float = order.amount
        place = TopicPartition(totals.name, scope.tp.partition)
        value = totals.codec.encode(Order(account=order.account, amount=amount))
        scope.emit(OutboundRecord(place, order.account.encode(), value))
    scope.count(applied=len(batch))


codec: Codec = orders.codec
name: str = count.name
"""
WRONG = PACKAGE.replace("amount: float = order.amount", "amount: int = order.account")


@pytest.mark.parametrize("name", streams.__all__)
def test_every_name_is_documented(name):
    """People meet it in their editor first."""
    assert (getattr(streams, name).__doc__ or "").strip()
    assert name in dir(streams)


def test_an_unknown_name_is_an_attribute_error():
    """`hasattr` and `from streams import x` rely on it."""
    assert not hasattr(streams, "Nothing")


def test_importing_it_imports_no_engine():
    """Every `dia --help` imports it."""
    code = "import sys, streams; print('numpy' in sys.modules, 'streams.app' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(("source", "code"), [(PACKAGE, 0), (WRONG, 1)], ids=["right", "wrong"])
def test_a_users_package_is_type_checked(tmp_path, source, code):
    """Strictly, from outside of the repository: py.typed is there, and the types are true."""
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "orders.py").write_text(source)
    (tmp_path / "mypy.ini").write_text("[mypy]\n")
    cache = ROOT / ".mypy_cache" / "package"
    command = [
        *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(tmp_path / "mypy.ini")),
        *("--cache-dir", str(cache)),
        *("--ignore-missing-imports", str(package)),
    ]
    environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    mine = [line for line in told.stdout.splitlines() if line.startswith("acme/")]
    assert (bool(mine), told.stderr) == (bool(code), ""), told.stdout[-2000:]
    assert told.returncode in (0, 1)
