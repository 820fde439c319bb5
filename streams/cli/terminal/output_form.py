"""The form of a command's data on stdout, option ``-o``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., None])


class OutputForm(StrEnum):
    """TABLE fits the terminal: columns of detail are left out where they do not fit. WIDE has every column,
    a row a line."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    CSV = "csv"


class QueryForm(StrEnum):
    """The forms of `OutputForm`, and two of columns with types, for commands that are `columnar`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


COLUMN_FORMS = frozenset({QueryForm.ARROW, QueryForm.PARQUET})


def columnar(command: Command) -> Command:
    """Mark a command that also writes `COLUMN_FORMS`."""
    command.columnar = True  # type: ignore[attr-defined]  # read by accept_everywhere
    return command


def is_columnar(command: Any) -> bool:
    return getattr(command, "columnar", False)


def query_form_option() -> Any:
    """``-o`` of a `columnar` command."""
    template = typer.Typer(rich_markup_mode=None)
    template.command()(_template)
    (option,) = [one for one in typer.main.get_command(template).params if one.name == "form"]
    return option


def _template(
    *,
    form: Annotated[
        QueryForm | None,
        typer.Option(
            "-o",
            "--output",
            help="Form of the data; wide: every column, a row a line; arrow, parquet: columns with types.",
        ),
    ] = None,
) -> None:
    raise AssertionError("only its option is used")
