"""``--watch``: a command that shows a state repeats it until the user interrupts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from streams.cli.invocation import Invocation
from streams.cli.terminal.watching import repeat

Command = TypeVar("Command", bound=Callable[..., None])


def watchable(command: Command) -> Command:
    """Mark a command that only reads: it gets the options ``--watch`` and ``--every``."""

    @wraps(command)
    def watched(*args: Any, **kwargs: Any) -> None:
        context = kwargs.get("ctx") or args[0]
        every_s = context.find_object(Invocation).watch_s
        if every_s is None:
            command(*args, **kwargs)
        else:
            title = f"{context.command_path} every {every_s} s"
            repeat(lambda: command(*args, **kwargs), every_s, title)

    watched.watchable = True  # type: ignore[attr-defined]  # read by accept_everywhere
    return watched  # type: ignore[return-value]  # the same signature
