"""A table on a terminal: drawn as it is where it fits, else each row on as many lines as it needs.

    failed                error       tenant  disposition  hops  bytes
        id                  message
    2027-01-15T08:00:00Z  wrong_type  acme    open         0     79
        model.metrics/1/41  $.value: Expected `float`, got `str`

Columns are moved as a whole, so that a time or an id stays in one piece, to be read and copied;
only a cell that is wider than the terminal by itself is folded. Lines without a cell are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_INDENT = 4


def shown_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], detail: Collection[str], width: int
) -> list[int]:
    """Indices of the columns: all where they fit in ``width`` cells, else those that are no detail."""
    from rich.cells import cell_len

    everything = list(range(len(columns)))
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    if len(_groups(widths, width)) <= 1:
        return everything
    return [index for index in everything if columns[index] not in detail]


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[Text]:
    """None wider than ``width`` cells of the terminal."""
    from rich.cells import cell_len, chop_cells
    from rich.text import Text

    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    groups = _groups(widths, width)
    for number, row in enumerate([columns, *rows]):
        for group, members in enumerate(groups):
            indent = _INDENT if group else 0
            cells = [_padded(row[index], widths[index]) for index in members]
            text = (" " * _GAP).join(cells).rstrip()
            pieces = chop_cells(text, max(1, width - indent))
            if text and not pieces:
                # rich drops a text without width, as a lone modifier of an emoji
                pieces = [text]
            for piece in pieces:
                yield Text(" " * indent + piece, style="" if number else "bold")


def _groups(widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns beside each other: as many as fit, in their order."""
    groups: list[list[int]] = []
    left = -1
    for index, wide in enumerate(widths):
        if left < wide + _GAP:
            left = width + _GAP - (_INDENT if groups else 0)
            groups.append([])
        groups[-1].append(index)
        left -= wide + _GAP
    return groups


def _padded(cell: str, width: int) -> str:
    from rich.cells import cell_len

    return cell + " " * (width - cell_len(cell))
