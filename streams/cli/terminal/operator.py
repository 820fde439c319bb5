"""The operator of a command: the name in the records of decisions, and consent before an
irreversible action."""

from __future__ import annotations

import getpass
import os

import typer

from streams.core.errors import RefusedBySafety


def actor_of(given: str | None) -> str:
    """``--actor``, else the user of the operating system."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry in the password file, as in many containers
        return f"uid-{os.getuid()}"


def consent(question: str) -> None:
    """Returns on yes. Raises `RefusedBySafety` on no, or without an answer."""
    try:
        # click prompts on stdout by default, which is for data only.
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise RefusedBySafety("nothing was changed. `--yes` agrees beforehand.")
