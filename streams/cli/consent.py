"""Asking before something that cannot be taken back."""

from __future__ import annotations

import typer

from streams.core.errors import RefusedBySafety


def consent(question: str) -> None:
    """Returns if the answer is yes. Raises `RefusedBySafety` if it is no, or nobody answers."""
    try:
        # click asks on stdout unless told: there, only data is printed.
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise RefusedBySafety("nothing was changed. `--yes` agrees beforehand.")
