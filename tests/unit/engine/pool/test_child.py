"""The loop of a pool process over in-memory pipes; `tests/contract/test_job_pool.py` runs real
processes.
"""

from __future__ import annotations

import io

import pytest

from streams.engine.pool import child
from streams.engine.pool.frame import ANSWER, HEADER, JOB, MEMORY, RAISED, READY, frame


def answers(function, *jobs):
    """(kind, body) of each answer to ``jobs``."""
    written = io.BytesIO()
    child._serve(io.BytesIO(b"".join(frame(JOB, job) for job in jobs)), written, function)
    read, found = io.BytesIO(written.getvalue()), []
    while header := read.read(HEADER.size):
        length, kind = HEADER.unpack(header)
        found.append((kind, read.read(length)))
    return found


def test_a_frame_is_its_length_its_kind_and_its_body():
    """Parent and pool process may run different versions during a deploy."""
    assert [READY, JOB, ANSWER, MEMORY, RAISED] == [0, 1, 2, 3, 4]
    assert frame(JOB, b"abc") == b"\x00\x00\x00\x03\x01abc"
    assert frame(MEMORY, b"") == b"\x00\x00\x00\x00\x03"


def test_jobs_are_answered_in_order_until_the_pipe_closes():
    """After that the process ends."""
    assert answers(bytes.upper, b"one", b"", b"two") == [
        (ANSWER, b"ONE"),
        (ANSWER, b""),
        (ANSWER, b"TWO"),
    ]


def test_a_job_that_fails_is_answered_and_the_next_one_runs():
    """A scenario may raise any exception; the answer names it."""

    def perform(job):
        if job == b"large":
            raise MemoryError
        if job == b"bad":
            raise ValueError("no such model")
        return job

    assert answers(perform, b"large", b"bad", b"good") == [
        (MEMORY, b""),
        (RAISED, b"ValueError('no such model')"),
        (ANSWER, b"good"),
    ]


@pytest.mark.parametrize("message", ["x" * 10_000, "\ud800"], ids=["long", "no UTF-8"])
def test_the_error_of_a_job_fits_an_answer(message):
    """The error becomes part of a result with a bounded size."""

    def perform(job):
        raise ValueError(message)

    [(kind, body)] = answers(perform, b"")
    assert kind == RAISED
    assert body == repr(ValueError(message))[:500].encode(errors="replace")
