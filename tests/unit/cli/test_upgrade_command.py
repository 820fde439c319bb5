"""`dia upgrade check`: one exit code a state, and the next command beside each finding."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import app
from streams.cli import clients, main, migrate
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.migration import MigrationStanding, MigrationState
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.operate.topics.topics import apply, plan, wanted_topics
from streams.operate.upgrade.declared import examine_tables
from streams.operate.upgrade.upgrade_finding import UpgradeState

CHANGELOG = next(source.changelog(group) for group, source in app.topology.sources())


@pytest.fixture
def checked(monkeypatch, capsys, tmp_path):
    """Runs the command on a broker with the declared topics and up-to-date tables; ``change`` it first."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "memory:1")
    monkeypatch.setattr(migrate, "each_server", lambda run, ask: [])
    made = MemoryBroker(SystemClock())
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)

    async def prepare(change):
        admin = await made.admin()
        wanted = wanted_topics(app.topology)
        await apply(admin, plan(app.topology, wanted, await admin.describe_topics()))
        if change:
            await change(made)

    def run(change=None, *, topics=True):
        if topics:
            asyncio.run(prepare(change))
        code = main(["upgrade", "check", "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return code, {row["check"]: (row["state"], row["next"]) for row in rows}

    return run


def test_the_same_version_is_ready(checked):
    """A check that warns of nothing is one that people no longer read."""
    code, found = checked()
    assert code == 0
    assert {check: state for check, (state, _) in found.items()} == {
        "settings": "ready",
        "topics": "ready",
        "state": "ready",
    }


def test_missing_topics_are_to_do(checked):
    """The chart's job makes them before the workers start."""
    code, found = checked(topics=False)
    assert code == 3
    assert found["topics"] == ("to do", "dia topics apply")


def test_a_state_that_cannot_be_read_is_refused(checked):
    """The upgrade would stop the partition at its first pod."""

    async def write(broker):
        producer = broker.plain_producer()
        await (await producer.send(CHANGELOG, None, b"DC\xff" + bytes(20)))

    code, found = checked(write)
    assert code == 5
    assert found["state"][0] == "refused"


def test_an_unknown_setting_ends_the_check(checked, monkeypatch):
    """A setting that the new version no longer has ends its workers at their start."""
    monkeypatch.setenv("DIA_SETTING_OF_A_FORMER_VERSION", "1")
    assert checked() == (2, {})


def test_kafka_that_does_not_answer_is_no_permission(checked, monkeypatch):
    """What was not compared may differ."""

    async def away(self):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    code, found = checked(topics=False)
    assert code == 4
    assert found["kafka"] == ("unreachable", "dia status")


@pytest.mark.parametrize(
    ("state", "expected", "mend"),
    [
        (MigrationState.APPLIED, UpgradeState.READY, ""),
        (MigrationState.PENDING, UpgradeState.TO_DO, "dia migrate apply"),
        (MigrationState.UNKNOWN, UpgradeState.REFUSED, "dia migrate status"),
        (MigrationState.CHANGED, UpgradeState.REFUSED, "dia migrate status"),
    ],
)
def test_the_worst_migration_of_a_server_decides(state, expected, mend):
    """An older version must not work on tables of a newer one."""
    standings = [MigrationStanding("V1", MigrationState.APPLIED), MigrationStanding("V2", state)]
    found = examine_tables("http://ch:8123", standings)
    assert (found.state, found.mend) == (expected, mend)
