"""Runs a command that dies with its parent process, even on kill -9.

Run as a file, isolated (``python -I -S tether.py PARENT_PID COMMAND...``), to start in
milliseconds: code between fork and exec in the parent could deadlock. PR_SET_PDEATHSIG (prctl(2))
survives the exec."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> bool:
    """False: the parent has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent_pid


def main(parent_pid: int, command: list[str]) -> None:
    if not die_with_parent(parent_pid):
        sys.exit("the parent died before its child was tethered to it")
    # The supervisor blocks these signals; its children must not.
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.execv(command[0], command)  # noqa: S606 - a list, from the supervisor


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
