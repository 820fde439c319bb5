"""The frame of `dia`: exit codes, output streams, global options, speed of --help."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

import streams.cli
from streams.cli import main
from streams.cli.invocation import accept_everywhere, invocation
from streams.core import errors
from streams.core.process.version import app_version


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    """No DIA_ variable, no colour, and a separate home."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")


def _run_raising(monkeypatch, error: BaseException) -> int:
    """Run a `dia` with a single command that raises ``error``."""
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(streams.cli._root)

    @app.command()
    def fails() -> None:
        raise error

    root = accept_everywhere(typer.main.get_command(app))
    monkeypatch.setattr(streams.cli, "command", lambda: root)
    return main(["fails"])


def test_a_process_that_runs_many_commands_builds_them_once():
    """To build them takes a tenth of a second, which each call in a process paid: a notebook, a test, a standby."""
    assert streams.cli.command() is streams.cli.command()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.PartialResult("x"), 3),
        (errors.DependencyUnreachable("x"), 4),
        (errors.BrokerUnavailable("x"), 4),
        (errors.ShardUnavailable("x"), 4),
        (errors.CacheUnavailable("x"), 4),
        (errors.RefusedBySafety("x"), 5),
        (errors.SlotInUse("x"), 5),
        (errors.ChangelogLost("x"), 1),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(monkeypatch, capsys, error, code):
    """Scripts decide by these numbers."""
    assert _run_raising(monkeypatch, error) == code
    assert capsys.readouterr().out == ""


def test_an_error_is_one_block_on_stderr(monkeypatch, capsys):
    """What, why and the next command are together, with the stable code and the notes."""
    error = errors.DependencyUnreachable("Kafka at h:1 does not answer. Run `dia up`.")
    error.add_note("tried for 5 s")
    _run_raising(monkeypatch, error)
    assert capsys.readouterr().err == (
        "error: Kafka at h:1 does not answer. Run `dia up`. [dependency_unreachable]\n"
        "  tried for 5 s\n"
    )


def test_the_traceback_of_an_internal_error_is_shown_on_request_only(monkeypatch, capsys):
    """A user gets a sentence; a developer sets the log level and gets the place."""
    _run_raising(monkeypatch, ValueError("boom"))
    plain = capsys.readouterr().err
    assert "unexpected ValueError: boom" in plain
    assert "Traceback" not in plain
    monkeypatch.setenv("DIA_LOG_LEVEL", "debug")
    _run_raising(monkeypatch, ValueError("boom"))
    assert "Traceback" in capsys.readouterr().err


def test_global_options_stand_before_or_after_the_command(capsys):
    """Users type `dia status --json`; scripts may put the option first."""
    assert main(["--json", "config", "show"]) == 0
    before = capsys.readouterr().out
    assert main(["config", "show", "--json"]) == 0
    assert capsys.readouterr().out == before
    assert json.loads(before.splitlines()[0])["variable"] == "DIA_HOME"


def test_a_command_may_have_its_own_option_of_a_global_name():
    """A copy of a global option must not shadow the command's own."""
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(streams.cli._root)
    seen: list[object] = []

    @app.command()
    def own(ctx: typer.Context, *, json: str = "") -> None:
        seen.append((json, invocation(ctx).json))

    with pytest.raises(SystemExit):
        accept_everywhere(typer.main.get_command(app)).main(args=["own", "--json", "text"])
    assert seen == [("text", False)]


def test_home_given_after_the_command_is_the_one_used(capsys, tmp_path):
    """`--home` decides the location of all state, wherever it stands."""
    assert main(["config", "show", "--json", "--home", str(tmp_path / "x")]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["value"] == str(tmp_path / "x")


def test_an_unknown_command_is_a_usage_error(capsys):
    """A typing error ends with exit code 2 and a message on stderr."""
    assert main(["konfig"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "konfig" in err


def test_invalid_settings_are_named_with_their_range(monkeypatch, capsys):
    """The message names the variable and its range."""
    monkeypatch.setenv("DIA_COMMIT_INTERVAL_S", "900")
    assert main(["config", "show"]) == 2
    assert "DIA_COMMIT_INTERVAL_S=900.0" in (err := capsys.readouterr().err)
    assert "0.02 to 60" in err


def test_config_explain_shows_sources_and_hides_secrets(monkeypatch, capsys):
    """A pasted report must not contain the secret of an address, but the source of each value."""
    monkeypatch.setenv("DIA_REDIS_URL", "redis://user:hunter2@cache:6379/0")
    assert main(["config", "show", "--explain", "--json"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    rows = {row["variable"]: row for row in map(json.loads, out.splitlines())}
    assert rows["DIA_REDIS_URL"]["source"] == "environment"
    assert rows["DIA_GRACE_S"]["source"] == "default"


def test_every_command_group_is_listed_and_has_help(capsys):
    """A module in GROUPS that does not register, or breaks --help, would hide its commands."""
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    for command in typer.main.get_command(streams.cli.build()).commands.values():
        assert command.name in listing
        assert main([command.name, "--help"]) == 0
        assert capsys.readouterr().err == ""


HEAVY = ("numpy", "pyarrow", "aiokafka", "faust", "chdb", "aiohttp", "clickhouse_connect", "rich")


def test_help_imports_nothing_heavy():
    """--help is fast because command modules import heavy modules only inside their commands. The
    test checks the imports instead of a time.
    """
    code = (
        "import sys; from streams.cli import main; main(['--help']); "
        f"sys.exit(' '.join(m for m in {HEAVY} if m in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_prints_its_version(capsys):
    """Every bug report needs it."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dia {app_version()}\n"
