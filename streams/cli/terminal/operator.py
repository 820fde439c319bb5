"""The operator of a command: the name in the records of decisions, and consent before an
irreversible action."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from streams.core.errors import RefusedBySafety

Actor = Annotated[
    str | None, typer.Option(metavar="NAME", help="The actor; default: the user of the system.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="The reason; stored in the journal.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


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
