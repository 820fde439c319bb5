"""Tables on a terminal: complete if there is room, readable otherwise."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streams.cli.terminal.table import lines

COLUMNS = ("failed", "error", "id", "message")
ROWS = (
    ("2027-01-15T08:00:00Z", "wrong_type", "model.metrics/1/41", "Expected `float`, got `str`"),
    ("2027-01-15T08:00:00Z", "E", "名/2/7", ""),
)


def shown(width: int) -> list[str]:
    return [line.plain for line in lines(COLUMNS, ROWS, width)]


def test_a_table_that_fits_is_one_line_a_row():
    """A wide terminal shows every column."""
    assert shown(120) == [
        "failed                error       id                  message",
        "2027-01-15T08:00:00Z  wrong_type  model.metrics/1/41  Expected `float`, got `str`",
        "2027-01-15T08:00:00Z  E           名/2/7",
    ]


def test_a_table_that_does_not_fit_moves_whole_columns_below():
    """A truncated time or id can neither be read nor copied."""
    assert shown(60) == [
        "failed                error       id",
        "    message",
        "2027-01-15T08:00:00Z  wrong_type  model.metrics/1/41",
        "    Expected `float`, got `str`",
        "2027-01-15T08:00:00Z  E           名/2/7",
    ]


cells = st.text(st.characters(exclude_categories=("C", "Z")), max_size=30)


@given(st.integers(1, 6).flatmap(
    lambda n: st.lists(st.tuples(*[cells] * n), min_size=1, max_size=4)
), st.integers(12, 100))  # fmt: skip
@example([("\U0001f3fb",)], 12)
def test_all_cells_are_shown_within_the_width(rows, width):
    """Whatever the cells contain: a terminal would wrap a longer line anywhere."""
    columns = [f"c{number}" for number in range(len(rows[0]))]
    drawn = list(lines(columns, rows, width))
    assert all(line.cell_len <= width for line in drawn)
    found = "".join(line.plain for line in drawn).replace(" ", "")
    assert found == "".join("".join(row) for row in [columns, *rows])
