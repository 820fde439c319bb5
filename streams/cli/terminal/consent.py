"""Asks before an irreversible action."""

from __future__ import annotations

import typer

from streams.core.errors import RefusedBySafety


def consent(question: str) -> None:
    """Returns on yes. Raises `RefusedBySafety` on no, or without an answer."""
    try:
        # click prompts on stdout by default, which is for data only.
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise RefusedBySafety("nothing was changed. `--yes` agrees beforehand.")
