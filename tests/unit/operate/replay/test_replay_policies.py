"""The file of automatic replay policies, and `dia replay policies`."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import app
from streams.cli import clients, main
from streams.cli.replay.worker import serve
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import BadRecord, UsageError
from streams.core.records.bad_records import DEAD_LETTER_CODES
from streams.core.settings import Settings
from streams.operate.replay.agent.policies import ReplayPolicy, own_codes, read_policies
from streams.operate.topics.topics import wanted_topics

WHOLE = """
[[policy]]
name = "policy-service-back"
topic = "decision.simulation.request"
errors = ["retries_exhausted"]
after = "policy_service"
rate = 50
hops_max = 2
"""


def test_a_policy_has_defaults(tmp_path):
    """The file names only what is specific; other fields have defaults."""
    path = tmp_path / "policies.toml"
    path.write_text(WHOLE)
    [found] = read_policies(str(path), app.topology)
    assert found == ReplayPolicy(
        name="policy-service-back",
        topic="decision.simulation.request",
        errors=("retries_exhausted",),
        after="policy_service",
        quiet_s=60.0,
        rate=50.0,
        hops_max=2,
    )
    assert read_policies("", app.topology) == ()
    path.write_text(WHOLE.replace("rate = 50\n", ""))
    assert read_policies(str(path), app.topology) == (found,)


@pytest.mark.parametrize(
    "words",
    ["hops_max = 100", "quiet_s = 86400", f"tenants = {[f't{n}' for n in range(100)]}"],
)
def test_the_documented_maxima_are_accepted(tmp_path, words):
    """One more is refused (tested below)."""
    path = tmp_path / "policies.toml"
    path.write_text(WHOLE.replace("hops_max = 2", words))
    assert len(read_policies(str(path), app.topology)) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("[[policy", "Expected"),
        (WHOLE + WHOLE, "two policies are named policy-service-back"),
        (
            WHOLE.replace("decision.simulation.request", "orders"),
            "orders is not one of model.metrics",
        ),
        (WHOLE.replace('["retries_exhausted"]', "[]"), "length >= 1"),
        (
            WHOLE.replace("retries_exhausted", "policy_service_unavailable"),
            "no dead letter has the code policy_service_unavailable; there are agent_failed, ",
        ),
        (WHOLE.replace("retries_exhausted", "Robot click"), "no dead letter has the code Robot"),
        (WHOLE.replace("rate = 50", "rate = 0"), r"> 0.*rate"),
        (WHOLE.replace("hops_max = 2", "hops = 2"), "unknown field `hops`"),
        (WHOLE.replace("hops_max = 2", "hops_max = 101"), "<= 100"),
        (WHOLE.replace("hops_max = 2", "quiet_s = 86401"), r"<= 86400"),
        (WHOLE.replace("hops_max = 2", f"tenants = {['t'] * 101}"), "length <= 100"),
        (WHOLE.replace('["retries_exhausted"]', str(["retries_exhausted"] * 101)), "length <= 100"),
        ("interval_s = 60\n" + WHOLE, "unknown field `interval_s`"),
        (WHOLE.replace('"policy_service"', '"the_weather"'), "Invalid enum value 'the_weather'"),
    ],
)
def test_an_invalid_file_is_refused_as_a_whole(tmp_path, content, why):
    """Following a part of the policies would surprise the operator."""
    path = tmp_path / "policies.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=why):
        read_policies(str(path), app.topology)


@pytest.fixture
def dia(monkeypatch, tmp_path, capsys):
    """Run a command on an empty broker, with WHOLE as the file of policies."""
    broker = MemoryBroker(SystemClock())

    async def create() -> None:
        await (await broker.admin()).create_topics(wanted_topics(app.topology))

    asyncio.run(create())
    (tmp_path / "policies.toml").write_text(WHOLE)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_REPLAY_POLICY_FILE", str(tmp_path / "policies.toml"))
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)

    def run(*arguments):
        capsys.readouterr()
        return main(arguments), *capsys.readouterr()

    return run


def test_policies_are_shown_with_their_actions(dia, monkeypatch):
    """Before and after the first action."""
    code, out, _ = dia("replay", "policies", "--json")
    row = json.loads(out)
    assert (code, row["policy"], row["rate"], row["hops_max"]) == (0, "policy-service-back", 50, 2)
    assert (row["plans"], row["replayed"], row["parked"], row["last"]) == (0, 0, 0, None)
    code, out, _ = dia("replay", "policies")
    assert (code, out.splitlines()[0].split()[:3]) == (0, ["policy", "topic", "errors"])
    monkeypatch.delenv("DIA_REPLAY_POLICY_FILE")
    code, out, err = dia("replay", "policies")
    assert (code, out) == (0, "")
    assert "no policy is configured. Set DIA_REPLAY_POLICY_FILE" in err


def test_an_agent_that_cannot_follow_a_policy_does_not_start(tmp_path):
    """Otherwise it would wait for a service without an address."""
    path = tmp_path / "policies.toml"
    path.write_text(WHOLE)
    settings = Settings(home=str(tmp_path), replay_policy_file=str(path))
    with pytest.raises(UsageError, match="policy-service-back of DIA_REPLAY_POLICY_FILE waits"):
        serve(settings, app.topology, 0)


def test_a_policy_may_name_every_code_of_dia(tmp_path):
    """A code that is refused here would make a useful policy invalid. An agent of one event at a time gives up,
    too, and fails."""
    path = tmp_path / "policies.toml"
    for code in ("idempotency_conflict", "row_refused", "retries_exhausted", "agent_failed"):
        path.write_text(
            WHOLE.replace("retries_exhausted", code).replace(
                "decision.simulation.request", "model.metrics"
            )
        )
        [found] = read_policies(str(path), app.topology)
        assert own_codes(found) == []


def test_a_policy_may_name_a_code_of_the_apps_own(dia, tmp_path):
    """Agents give them as text or by classes of classes; codes of another app in this process are no
    part of it."""

    class Robot(BadRecord):
        code = "robot"

    class RobotClick(Robot):
        code = "robot_click"

    path = tmp_path / "policies.toml"
    path.write_text(
        WHOLE.replace('"retries_exhausted"', '"robot_click", "given_as_text", "too_large"')
    )
    [found] = read_policies(str(path), app.topology)
    assert own_codes(found) == ["robot_click", "given_as_text"]
    assert not {Robot.code, RobotClick.code} & DEAD_LETTER_CODES
    code, _, err = dia("replay", "policies")
    assert code == 0
    assert "policy policy-service-back waits for robot_click, given_as_text: no code of dia" in err
