"""`@app.command` and `app.main()`: command-line programs of an app."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from streams import App
from streams.cli import main
from streams.connect.broker.kafka import broker as kafka
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import UnsupportedByDia, UsageError
from streams.core.types import TopicPartition
from streams.engine.app.loading import load_app
from streams.operate.topics.topics import wanted_topics

ROOT = str(Path(__file__).parents[4])
MODULE = """
    from streams import App, Record

    class Order(Record):
        account: str
        amount: float = 0.0

    bank = App("bank")
    orders = bank.topic("orders", value_type=Order, key_field="account", partitions=1)

    @bank.command()
    async def send_orders(self, account: str, count: int = 2, *, loud: bool = False):
        '''Send some orders.

        More about it.
        '''
        for number in range(count):
            orders.send_soon(value=Order(account=account, amount=float(number)))
        self.say(f"{self.app.name}: {count}{'!' if loud else ''}")

    @bank.command(name="fail")
    async def failing():
        raise ConnectionError("nothing there")

    if __name__ == "__main__":
        bank.main()
"""


@pytest.fixture
def bank(tmp_path, monkeypatch):
    """The app's module in the working folder, and a memory broker."""
    (tmp_path / "bank_app.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIA_APP", "bank_app:bank")
    broker = MemoryBroker(SystemClock())
    monkeypatch.setattr(kafka.KafkaBroker, "from_settings", lambda settings: broker)
    yield broker
    sys.modules.pop("bank_app", None)


async def _topics(broker):
    topology = load_app("bank_app:bank").topology
    await (await broker.admin()).create_topics(wanted_topics(topology))


def test_a_command_gets_its_arguments_from_the_command_line(bank, capsys):
    """The function's signature gives the options; records it sends are delivered when the command
    ends.
    """
    asyncio.run(_topics(bank))
    assert main(["run", "send-orders", "a", "--count", "3", "--loud"]) == 0
    assert capsys.readouterr().out == "bank: 3!\n"
    batch = bank.log(TopicPartition("orders", 0)).read_committed(0, 1 << 30)
    assert batch.values[-1] == b'{"account":"a","amount":2.0}'
    assert len(batch) == 3


def test_commands_are_listed_with_their_first_line(bank, capsys):
    """The list shows users what the app can do."""
    assert main(["run", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [
        {"command": "send-orders", "what": "Send some orders."},
        {"command": "fail", "what": ""},
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], 2, "has no command 'nothing'. It has: send-orders, fail"),
        (["send-orders"], 2, "Missing argument 'account'"),
        (["send-orders", "a", "--count", "x"], 2, "Invalid value for '--count'"),
        (["fail"], 1, "ConnectionError: nothing there"),
    ],
)
def test_an_error_has_its_exit_code(bank, capsys, words, code, said):
    """Errors of a user's command use the exit codes of built-in commands."""
    assert main(["run", *words]) == code
    assert said in capsys.readouterr().err


def test_an_invalid_command_is_refused_at_its_declaration():
    """The error is one sentence, and nothing is registered."""
    app = App("acme")

    @app.command()
    async def one():
        pass

    with pytest.raises(UsageError, match="two commands named one"):
        app.command()(one)
    with pytest.raises(UsageError, match="no `async def`"):
        app.command(name="two")(print)
    with pytest.raises(UnsupportedByDia, match="no options of click"):
        app.command("option")
    with pytest.raises(UsageError, match="in the module that defines the app"):
        app.main()
    assert [command.name for command in app.commands] == ["one"]


def test_main_runs_dia_with_this_app(tmp_path):
    """Faust apps start as `python bank_app.py ...`; child processes import the same module."""
    (tmp_path / "bank_app.py").write_text(textwrap.dedent(MODULE))
    environ = {**os.environ, "PYTHONPATH": ROOT, "DIA_HOME": str(tmp_path / "home")}
    environ.pop("DIA_APP", None)
    done = subprocess.run(
        [sys.executable, tmp_path / "bank_app.py", "run", "--json"],
        env=environ, cwd="/", capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["command"] == "send-orders"
