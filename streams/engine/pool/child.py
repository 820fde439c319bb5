"""A pool process: read a job, run it, answer, until the pipe closes.

    python -m streams.engine.pool.child PARENT_PID MODULE:FUNCTION MEMORY_BYTES

Output of the job's code goes to stderr, not to the pipe. The kernel ends this process with its
parent (PR_SET_PDEATHSIG): a long job would notice a closed pipe only at its end. The memory cap is
added to what is mapped after the imports, since libraries reserve far more address space than they
use.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from streams.core.process.tether import die_with_parent
from streams.engine.pool.frame import ANSWER, HEADER, JOB, MEMORY, RAISED, READY, frame

_MESSAGE_MAX = 500


def main(parent_pid: int, entry: str, memory_bytes: int) -> None:
    if not die_with_parent(parent_pid):
        return
    jobs, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    module, _, name = entry.partition(":")
    function: Callable[[bytes], bytes] = getattr(import_module(module), name)
    _cap_memory(memory_bytes)
    answers.write(frame(READY, b""))
    _serve(jobs, answers, function)


def _cap_memory(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _serve(jobs: BinaryIO, answers: BinaryIO, function: Callable[[bytes], bytes]) -> None:
    while header := jobs.read(HEADER.size):
        length, kind = HEADER.unpack(header)
        assert kind == JOB
        reply = _answer(function, jobs.read(length))
        answers.write(reply)


def _answer(function: Callable[[bytes], bytes], job: bytes) -> bytes:
    try:
        return frame(ANSWER, function(job))
    except MemoryError:
        return frame(MEMORY, b"")
    except Exception as error:  # noqa: BLE001 - a job's code may raise anything; the answer reports it
        return frame(RAISED, repr(error)[:_MESSAGE_MAX].encode(errors="replace"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
