"""Reads the address of a console on an arbitrary port from its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from streams.core.errors import CommandError
from streams.dev.demo.command_process import CommandProcess

WAIT_S = 60.0
_LISTENING = re.compile(r"listening on (https?://\S+);")


def address_of(console: CommandProcess, stopped: Callable[[], bool] = lambda: False) -> str:
    """ "" when ``stopped``. Raises `CommandError` when it ends or takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not stopped():
        if found := _LISTENING.search(console.log.read_text()):
            return found[1]
        console.check()
        if time.monotonic() >= deadline:
            raise CommandError(f"the console does not listen. Its log: {console.log}.")
        time.sleep(0.05)
    return ""
