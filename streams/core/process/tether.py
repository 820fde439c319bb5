"""Run a command that dies with the process that started it, even when that one is killed -9.

Run as a file, isolated (``python -I -S tether.py PARENT_PID COMMAND...``): it must start in
milliseconds. A process of its own, because the alternative, code between fork and exec in the
parent, can deadlock. The kernel's promise (prctl(2), PR_SET_PDEATHSIG) survives the exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel kill this process when its parent ends. False: the parent has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent_pid


def main(parent_pid: int, command: list[str]) -> None:
    if not die_with_parent(parent_pid):
        sys.exit("the parent died before its child was tethered to it")
    # The supervisor waits for signals with these blocked; a child must not inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.execv(command[0], command)  # noqa: S606 - a list, from the supervisor


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
