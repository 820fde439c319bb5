"""`-o arrow` and `-o parquet`: whole or not at all, in bounded memory, and never to a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.cli import main
from streams.cli.terminal import column_file as module
from streams.cli.terminal.column_file import column_file
from streams.cli.terminal.output_form import QueryForm
from streams.connect.sinks.series import COLUMNS
from streams.connect.sinks.window_views.point_columns import point_columns
from streams.connect.sinks.window_views.series_view import series_view
from streams.connect.sinks.window_views.view import WindowPoints
from streams.core.settings import Settings
from streams.engine.app.window_views import window_views
from tests.unit.engine.app.test_window_views import shop

BATCH = pa.record_batch({"tenant": ["a", "b"], "n": pa.array([1, None], pa.uint64())})
FORMS = (QueryForm.ARROW, QueryForm.PARQUET)


class Stdout(io.TextIOWrapper):
    """A stream with bytes below it, as the process has."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO())
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def _rows(form, source):
    if form is QueryForm.ARROW:
        return pa.ipc.open_stream(source).read_all()
    return pq.read_table(source)


@pytest.mark.parametrize("form", FORMS)
def test_pyarrow_reads_what_is_written_to_a_file_and_to_stdout(form, tmp_path, monkeypatch):
    """Readers of other tools go through the same formats."""
    out, file = Stdout(terminal=False), tmp_path / "rows"
    monkeypatch.setattr("sys.stdout", out)
    for target in (None, file):
        with column_file(form, BATCH.schema, target) as write:
            write(BATCH)
            write(BATCH)
    expected = pa.Table.from_batches([BATCH, BATCH])
    assert _rows(form, io.BytesIO(out.buffer.getvalue())).equals(expected)
    assert _rows(form, io.BytesIO(file.read_bytes())).equals(expected)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("form", FORMS)
def test_an_error_in_the_middle_leaves_the_former_file(form, tmp_path):
    """A part of a result must not be taken for the result."""
    file = tmp_path / "rows"
    file.write_text("before")

    def _break_off():
        with column_file(form, BATCH.schema, file) as write:
            write(BATCH)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        _break_off()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_an_error_in_the_middle_leaves_parquet_on_stdout_unreadable(monkeypatch):
    """Without its footer no reader takes it."""
    out = Stdout(terminal=False)
    monkeypatch.setattr("sys.stdout", out)

    def _break_off():
        with column_file(QueryForm.PARQUET, BATCH.schema, None) as write:
            write(BATCH)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        _break_off()
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(io.BytesIO(out.buffer.getvalue()))


@pytest.mark.parametrize("bound", ["GROUP_ROWS", "GROUP_BYTES"])
def test_row_groups_join_small_batches_and_are_bounded(bound, tmp_path, monkeypatch):
    """A group a batch would make the footer as large as the data; one group would hold the result."""
    monkeypatch.setattr(module, bound, 10 if bound == "GROUP_ROWS" else 5 * BATCH.nbytes)
    with column_file(QueryForm.PARQUET, BATCH.schema, tmp_path / "rows") as write:
        for _ in range(12):
            write(BATCH)
    groups = pq.ParquetFile(tmp_path / "rows").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [10, 10, 4]


@pytest.mark.parametrize("form", FORMS)
def test_bytes_never_reach_a_terminal(form, monkeypatch, capsys):
    """They would act upon it; the message says how to write a file."""
    monkeypatch.setattr("sys.stdout", Stdout(terminal=True))
    assert main(["query", "SELECT 1", "-o", form]) == 2
    assert f"--file rows.{form}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "SELECT 1", "-o", "parquet", "--watch"], "leave one out"),
        (["query", "SELECT 1", "--file", "x"], "-o arrow or -o parquet"),
        (
            ["query", "series", "--tenant=a", "--model=b", "--metric=c", "--file", "x"],
            "--file goes",
        ),
        (["topics", "list", "-o", "parquet"], "parquet"),
        (["query", "model", "--tenant=a", "--model=b", "-o", "arrow"], "arrow"),
    ],
)
def test_options_that_go_together_with_no_form_are_refused(words, said, capsys):
    """An ignored option is a file that is missing."""
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert not Path("x").exists()


def test_a_series_has_columns_with_types_even_without_rows():
    """A notebook plots times and numbers, not text."""
    view = series_view(30)
    at_s = 1_767_323_040
    for rows in ([(at_s, 2, 1.5, 0.5, 1.0, 2.0, 2.0, 1.0, 2.0, 2.0)], []):
        values = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
        points = WindowPoints(dict(zip(COLUMNS, values, strict=True)))
        batch = point_columns(view, view.figures, points)
        assert batch.schema.names == list(COLUMNS)
        assert [str(kind) for kind in batch.schema.types] == [
            "timestamp[s, tz=UTC]",
            "uint64",
            *["double"] * 8,
        ]
        assert [row["t"].isoformat() for row in batch.to_pylist()] == [
            "2026-01-02T03:04:00+00:00" for _ in rows
        ]


def test_figures_of_other_windows_have_the_types_of_their_columns():
    """Lists, texts and what is unknown, too; a window may begin within a second."""
    view = window_views(shop(), Settings())["moving"]
    values = [[0.5], [True], [3], [4.5], [None], [2.0], [2], ["b"], [["b"]], [[3]]]
    names = ["t", "closed", *(one.name for one in view.figures)]
    batch = point_columns(view, view.figures, WindowPoints(dict(zip(names, values, strict=True))))
    assert str(batch.schema.field("t").type) == "timestamp[ms, tz=UTC]"
    assert str(batch.schema.field("top").type) == "list<item: string>"
    assert batch.to_pylist()[0]["q_50"] is None
