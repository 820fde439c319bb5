"""Every command that changes something is in the log of operations, with who ran it and how it ended."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
import typer

from streams.cli import command, main, operating
from streams.cli.operating import OPERATIONS
from streams.connect.access.operations_log import OperationsLog
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable

READS = {
    "audit", "backup list", "backup verify", "canary check", "capacity plan", "capacity predict", "capacity test",
    "config show", "context list", "dlq breaker list", "dlq export", "dlq list", "dlq show",
    "dlq stats", "doctor", "drill list", "events example", "explain", "loadtest example",
    "migrate plan", "migrate status", "operations list", "query model", "query rights", "query series", "query sql",
    "region status", "replay plan", "replay policies", "replay status", "schemas check",
    "schemas list", "schemas show", "shards list", "shards moves", "shards plan add",
    "shards plan move", "shards plan remove", "shards size", "shed list", "shed plan", "status",
    "tables list", "tables outbox list", "tables undeclared list", "tables windows list",
    "token list", "upgrade check", "topics describe", "topics list", "topics plan", "topics render",
    "topics rights", "topics search", "topics tail", "trace",
}  # fmt: skip
"""Commands that change nothing but files that they were told to write."""
OF_THIS_MACHINE = {
    "bench agents", "bench capacity", "bench compare", "bench curves", "bench peers",
    "bench readers", "bench report", "bench run", "context use", "demo", "down", "drill region",
    "init", "produce", "simulate", "up",
}  # fmt: skip
"""Development, and events as any client sends them."""
SERVERS = {"console", "edge serve", "region mirror", "run", "worker"}


def _paths(group, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from _paths(one, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_is_logged_or_known_to_change_nothing():
    """A new command that changes something must not be forgotten."""
    known = [OPERATIONS, READS, OF_THIS_MACHINE, SERVERS]
    assert {*_paths(command())} == set().union(*known)
    assert sum(map(len, known)) == len(set().union(*known))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    return tmp_path


def _listed(capsys, *options: str) -> list[dict]:
    capsys.readouterr()
    assert main(["operations", "list", "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_operation_is_listed_with_who_what_and_its_outcome(home, capsys):
    """An operator asks weeks later who made a token, and what for."""
    create = ["token", "create", "--name", "ci", "--tenant", "acme", "--days", "9", "--json"]
    assert main(create) == 0
    text = json.loads(capsys.readouterr().out)["token"]
    assert main(["token", "revoke", "00000000"]) == 2
    made, refused = _listed(capsys)
    assert made["action"] == "token create"
    assert made["outcome"] == "done"
    assert json.loads(made["subject"]) == {
        "name": "ci", "tenant": "acme", "days": 9, "role": "operate",
    }  # fmt: skip
    assert (made["by"], made["who"], made["user"]) == ("command", made["user"], made["who"])
    assert made["who"]
    assert (refused["action"], refused["outcome"]) == ("token revoke", "usage")
    [log] = (home / "access").glob("operations-*.jsonl")
    assert text not in log.read_text()
    assert text[13:] not in log.read_text()


def test_commands_that_only_read_leave_no_line(home, capsys):
    """The log would be full of them."""
    assert main(["token", "list"]) == 0
    assert _listed(capsys) == []


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (BrokerUnavailable("away"), "broker_unavailable"),
        (typer.Exit(3), "exit_3"),
        (typer.Exit(0), "done"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError(), "failed"),
    ],
    ids=repr,
)
def test_the_outcome_says_how_it_ended(home, capsys, monkeypatch, raised, outcome):
    """A line that was begun and says nothing more looks like a killed process."""

    def revoke(*given: object, **named: object) -> None:
        raise raised

    monkeypatch.setattr("streams.connect.access.tokens.TokenFile.revoke", revoke)
    with suppress(KeyboardInterrupt):
        main(["token", "revoke", "4f1c09ab"])
    [found] = _listed(capsys)
    assert found["outcome"] == outcome


def test_an_actor_is_named_beside_the_user_of_the_system(home, capsys):
    """A user that names another actor is still in the log."""
    argv = ["replay", "pause", "no-such-plan", "--actor", "alice", "--reason", "too fast"]
    assert main(argv) != 0
    [found] = _listed(capsys)
    assert found["who"] == "alice"
    assert found["user"] not in ("", "alice")
    assert json.loads(found["subject"]) == {"plan": "no-such-plan", "reason": "too fast"}


def test_a_log_that_cannot_be_written_is_said_and_stops_no_repair(home, capsys, monkeypatch):
    """An operator who repairs a full disk must not be stopped by it."""

    def full(log: object, said: object, outcome: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OperationsLog, "write", full)
    assert main(["token", "create", "--role", "admin"]) == 0
    assert "not in the log of operations (begun)" in capsys.readouterr().err


def test_the_list_is_filtered_and_exported(home, capsys):
    """As CSV for a spreadsheet, as JSON Lines for programs."""
    clock = SystemClock()
    log = OperationsLog.of(home, clock)
    for number, (action, tenant) in enumerate(
        [("replay_submit", "acme"), ("shed_order", None), ("replay_pause", "globex")]
    ):
        said = {
            "operation": f"{number}", "action": action, "by": "session", "token": f"t{number}",
            "role": "operate", "token_tenant": tenant, "subject": {"plan": '=cmd("x")'},
        }  # fmt: skip
        log.write(said, "begun")
        if number < 2:
            log.write(said, "done")
    assert [one["operation"] for one in _listed(capsys)] == ["0", "1", "2"]
    for options, found in [
        (["--action", "replay"], ["0", "2"]),
        (["--action", "shed order"], ["1"]),
        (["--tenant", "acme"], ["0"]),
        (["--who", "t1"], ["1"]),
        (["--outcome", "unfinished"], ["2"]),
        (["--since", "-1h"], ["0", "1", "2"]),
        (["--until", "-1h"], []),
    ]:
        assert [one["operation"] for one in _listed(capsys, *options)] == found, options
    capsys.readouterr()
    assert main(["operations", "list", "-o", "csv"]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [row["outcome"] for row in rows] == ["done", "done", "unfinished"]


def test_a_torn_line_is_counted_and_hides_no_other(home, capsys):
    """A power cut leaves half a line."""
    assert main(["token", "create", "--role", "admin"]) == 0
    [path] = (home / "access").glob("operations-*.jsonl")
    with path.open("a") as file:
        file.write('{"at_ms":1,"operat')
    killed = {"operation": "k", "by": "command", "action": "rebuild", "subject": {}}
    OperationsLog.of(home, SystemClock()).write(killed, "begun")
    assert main(["token", "create", "--role", "admin"]) == 0
    capsys.readouterr()
    assert main(["operations", "list", "--json"]) == 3
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [(one["action"], one["outcome"]) for one in found] == [
        ("token create", "done"), ("token create", "done"), ("rebuild", "unfinished"),
    ]  # fmt: skip
    assert "1 lines of the log" in said.err


def test_a_password_in_an_address_is_masked():
    """The log outlives the password."""
    found = operating._subject({"to": "s3://key:secret@host/b", "many": ("x" * 999,), "yes": True})
    assert found == {"to": "s3://***@host/b", "many": ["x" * operating.TEXT_CHARS_MAX]}
