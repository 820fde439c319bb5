"""`dia`, also as ``python -m streams``: what must hold before anything is imported.

Ctrl-C while modules are imported ends the process at once: nothing is begun yet. Standard streams
that the caller closed are opened on /dev/null: else the next file opened would take their number,
and what a library prints would be written into it. Files are made for their owner alone.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
try:
    import signal
    from types import FrameType
except KeyboardInterrupt:
    os._exit(INTERRUPTED)
PRIVATE_UMASK = 0o077
"""What is written belongs to its owner alone: state, logs, spooled events, exports."""


def main() -> int:
    """Run one command of the process's own arguments and return its exit code."""
    os.umask(PRIVATE_UMASK)
    _open_closed_streams()
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _leave)
    from streams import cli  # noqa: PLC0415 - after the handler, on purpose

    command = cli.command_of(_arguments())
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return cli.run(command)
    except KeyboardInterrupt:
        return INTERRUPTED


def _arguments() -> list[str]:
    """None for a shell that asks how to complete a line, whose words are in the environment."""
    return [] if "_DIA_COMPLETE" in os.environ else sys.argv[1:]


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _open_closed_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a file in another encoding gets escapes for what it cannot show.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())
