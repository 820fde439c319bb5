"""`--watch`: a state, repeated through outages."""

from __future__ import annotations

import io

import pytest
import typer

from streams.cli import main
from streams.cli.terminal.watching import repeat
from streams.core.errors import DependencyUnreachable, UsageError


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


def _rounds(number):
    """A pause that interrupts after ``number`` rounds."""
    left = iter(range(number))

    def pause(_):
        if next(left) == number - 1:
            raise KeyboardInterrupt

    return pause


def test_each_round_replaces_the_last_on_a_terminal(monkeypatch):
    """The screen shows one state, with its time."""
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    repeat(lambda: typer.echo("unread 5"), 2, "dia status every 2 s", _rounds(3))
    screens = terminal.getvalue().split("\x1b[H\x1b[2J")[1:]
    assert len(screens) == 3
    assert all("dia status every 2 s, " in one and one.endswith("unread 5\n") for one in screens)


def test_without_a_terminal_the_rounds_follow_each_other(capsys):
    """A file or a pipe gets data only."""
    repeat(lambda: typer.echo("row"), 2, "title", _rounds(2))
    assert capsys.readouterr().out == "row\nrow\n"


def test_an_outage_is_shown_and_waited_out(capsys):
    """An operator watches to see when it is over."""
    found = iter([DependencyUnreachable("Kafka does not answer."), None])

    def show():
        typer.echo("half a page")
        if (error := next(found)) is not None:
            raise error

    repeat(show, 2, "title", _rounds(2))
    out, err = capsys.readouterr()
    assert out == "half a page\n" * 2
    assert err == "error: Kafka does not answer. [dependency_unreachable]\n"


def test_a_wrong_usage_ends_it(capsys):
    """No time mends it."""

    def show():
        raise UsageError("no topic")

    with pytest.raises(UsageError):
        repeat(show, 2, "title", _rounds(2))


@pytest.mark.parametrize(
    ("options", "every_s"),
    [
        (["--every", "7s"], 7),
        (["--watch"], 2),
        (["-w", "--every", "1s"], 1),
        (["--every", "1s", "-w"], 1),
    ],
)
def test_the_options_repeat_the_command(monkeypatch, capsys, tmp_path, options, every_s):
    """`--every 7s` alone is enough, and `--watch` beside it does not make the interval longer."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    seen = []

    def pause(seconds):
        seen.append(seconds)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("streams.cli.terminal.watching.time.sleep", pause)
    assert main(["status", *options]) == 0
    assert seen == [every_s, every_s]
    assert capsys.readouterr().err.count("no local stack runs") == 2
