"""The option ``-o`` of commands whose tables have more columns than fit."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation


class OutputForm(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


Output: TypeAlias = Annotated[
    OutputForm,
    typer.Option("-o", "--output", help="table, wide (every column, nothing cut) or json."),
]


def is_wide(run: Invocation, chosen: OutputForm) -> bool:
    """Whether everything is shown; sets the JSON form of the invocation where that is chosen."""
    run.json = run.json or chosen is OutputForm.JSON
    return run.json or chosen is OutputForm.WIDE
