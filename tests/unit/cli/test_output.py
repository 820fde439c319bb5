"""Formats of data on stdout, and messages on stderr."""

from __future__ import annotations

import errno
import io
import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli import main
from streams.cli.query import unlike
from streams.cli.terminal import output
from streams.cli.terminal.output import Printer
from streams.cli.terminal.output_form import OutputForm
from streams.core.errors import DependencyUnreachable

COLUMNS = ("name", "count")
ROWS = [("a", 1), ("longer", None)]


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_off_a_terminal_a_table_is_aligned_text(capsys):
    """`| awk` must work: no lines, no colour, no wrapping."""
    Printer().rows(COLUMNS, ROWS)
    assert capsys.readouterr().out == "name    count\na       1\nlonger\n"


def test_on_a_terminal_a_table_shows_markup_as_text(monkeypatch):
    """Data that looks like markup is shown unchanged."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    Printer().rows(["value"], [["[red]x[/red]"]])
    assert "[red]x[/red]" in terminal.getvalue()


def test_json_is_one_object_a_line(capsys):
    """Readers parse line by line."""
    Printer(form=OutputForm.JSON).rows(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": "a", "count": 1},
        {"name": "longer", "count": None},
    ]


def test_json_encodes_the_values_of_queries(capsys):
    """Drivers return times, bytes and numpy scalars."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    row = {
        "at": at,
        "raw": b"\xff",
        "n": np.uint64(7),
        "form": OutputForm.CSV,
        "set": frozenset({1}),
    }
    Printer(form=OutputForm.JSON).record(row)
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-01-02T03:04:05Z",
        "raw": "\ufffd",
        "n": 7,
        "form": "csv",
        "set": [1],
    }


def test_json_has_null_for_what_is_not_a_number(capsys):
    """NaN is not valid JSON and would break every reader of the stream."""
    Printer(form=OutputForm.JSON).record({"sd": float("nan"), "p": [np.float64("inf"), 1.5]})
    assert capsys.readouterr().out == '{"sd": null, "p": [null, 1.5]}\n'


def test_csv_quotes_what_needs_it(capsys):
    """A comma inside a value is not a separator."""
    Printer(form=OutputForm.CSV).rows(COLUMNS, [("a,b", 0.1)])
    assert capsys.readouterr().out == 'name,count\n"a,b",0.1\n'


def test_a_row_of_another_width_is_refused():
    """A shifted column would be wrong data without an error."""
    with pytest.raises(ValueError, match="longer"):
        Printer(form=OutputForm.JSON).rows(COLUMNS, [(1, 2, 3)])


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_json_lines_round_trip_any_text(rows):
    """Newlines and control characters inside a value do not break its line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out := io.StringIO())
        Printer(form=OutputForm.JSON).rows(COLUMNS, rows)
    back = [tuple(json.loads(line).values()) for line in out.getvalue().split("\n")[:-1]]
    assert back == rows


def test_quiet_silences_messages_and_progress_but_not_warnings(capsys):
    """--quiet keeps data, errors and warnings."""
    printer = Printer(quiet=True)
    printer.say("talk")
    printer.warn("warning")
    with printer.progress("work", total=2) as progress:
        progress.advance()
        progress.update(completed=2)
    assert capsys.readouterr() == ("", "warning\n")


def test_progress_off_a_terminal_is_plain_lines_and_ends_with_the_last_count(capsys):
    """A log shows the progress without control characters."""
    with Printer().progress("produced", total=1000, unit="events") as progress:
        for _ in range(10):
            progress.advance(100)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert err.splitlines()[-1] == "produced: 1,000 of 1,000 events"


def test_progress_off_a_terminal_is_rare(monkeypatch, capsys):
    """One line per interval, however often the count changes."""
    now = iter([0.0] + [0.001 * turn for turn in range(1000)])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(now))
    with Printer().progress("produced", total=100) as progress:
        for _ in range(100):
            progress.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_progress_on_a_terminal_is_drawn_on_stderr(monkeypatch, capsys):
    """The bar must not mix with data."""
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Printer().progress("produced", total=3, unit="events") as progress:
        progress.advance(2)
        progress.update(completed=3, description="done")
    assert capsys.readouterr().out == ""
    assert "events" in terminal.getvalue()


HOSTILE = "\x1b[31mred\r\n\x9b2J\x07\u2028\u202elive\u2066"


@pytest.mark.parametrize("form", OutputForm)
@pytest.mark.parametrize("terminal", [True, False])
def test_no_control_character_of_data_reaches_a_terminal(form, terminal, monkeypatch):
    """A stored name must not move the cursor, rename the window or fake a row."""
    out, err = (Terminal() if terminal else io.StringIO() for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # no bold header
    printer = Printer(form=form)
    printer.rows(["a", HOSTILE], [[HOSTILE, 1]])
    printer.record({HOSTILE: HOSTILE})
    printer.say(f"no values of {HOSTILE}")
    printer.warn(HOSTILE)
    output.show_error(DependencyUnreachable(HOSTILE))
    shown = err.getvalue() + (out.getvalue() if terminal or form is not OutputForm.CSV else "")
    assert [c for c in shown if c != "\n" and not c.isprintable()] == []


def test_json_keeps_what_it_escapes(capsys):
    """Escaping is for terminals; programs read the exact text."""
    Printer(form=OutputForm.JSON).record({"name": HOSTILE + "\x7fé"})
    assert json.loads(capsys.readouterr().out)["name"] == HOSTILE + "\x7fé"


def test_a_time_has_its_zone(capsys):
    """A reader must not take UTC for local time."""
    Printer(form=OutputForm.JSON).record({"at": datetime(2026, 1, 2, 3, 4, 5)})  # noqa: DTZ001
    assert json.loads(capsys.readouterr().out)["at"] == "2026-01-02T03:04:05Z"


def test_equal_column_names_are_made_unique():
    """The second would overwrite the first in a JSON object."""
    assert unlike(["a", "a", "a_2", "a"]) == ["a", "a_2", "a_2_2", "a_3"]


def test_sql_may_begin_with_a_comment(monkeypatch, capsys, tmp_path):
    """Users paste such statements; `--` must not be parsed as an option."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    assert main(["query", "-- why\nSELECT 1", "--json"]) == 4  # > no shard is configured here
    assert "no ClickHouse shard" in capsys.readouterr().err


@pytest.mark.parametrize("form", OutputForm)
def test_times_have_one_format_and_their_zone_in_every_form(form, capsys):
    """Times of two commands compare, and none is read as local time; drivers omit the zone for UTC."""
    west = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-5)))
    Printer(form).rows(["a", "b"], [[west.replace(tzinfo=None), west]])
    shown = capsys.readouterr().out
    assert "2026-01-02T03:04:05Z" in shown
    assert "2026-01-02T03:04:05-05:00" in shown


def test_a_narrow_terminal_shows_the_main_columns(monkeypatch, capsys):
    """A row of twenty figures broke over four lines; -o wide has all, on one line each."""
    columns, row = ("topic", "long", "note"), ["t" * 30, "x" * 60, "n"]
    for form, expected in ((OutputForm.TABLE, "topic note"), (OutputForm.WIDE, "topic long note")):
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "dumb")
        Printer(form).rows(columns, [row], detail=("long",))
        head, *body = terminal.getvalue().splitlines()
        assert (" ".join(head.split()), len(body)) == (expected, 1)
    assert "-o wide also shows long" in capsys.readouterr().err


def test_a_wide_enough_terminal_shows_all(monkeypatch):
    """Nothing is left out without need."""
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    Printer().rows(("topic", "long"), [["t" * 30, "x" * 60]], detail=("long",))
    assert "long" in terminal.getvalue()


def test_a_full_disk_behind_stderr_ends_no_command(monkeypatch):
    """A console and an edge did not start because they could not say where they listen."""

    class FullDisk(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stderr", FullDisk())
    Printer().say("listening")
    Printer(quiet=True).warn("not listening")
