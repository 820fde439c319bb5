"""Groups of commands: help pages with whole summaries, listed by task where a group is long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

WHOLE = 1000
"""Characters of a summary, which is one sentence. Typer cuts at the width of the terminal."""


class CommandGroup(TyperGroup):
    """``tasks``: the commands below each heading, in order; empty: one heading for all."""

    tasks: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        for heading, names in (self.tasks or {"Commands": tuple(self.commands)}).items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(WHOLE)) for name in names]
                )


def command_group(summary: str, cls: type[CommandGroup] = CommandGroup) -> typer.Typer:
    """A group that shows its help page when it is called without a command."""
    return typer.Typer(cls=cls, no_args_is_help=True, help=summary)
