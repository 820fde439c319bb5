"""Jobs that wait for an insert: what is due, and what is left after some were taken."""

from __future__ import annotations

import math

import pytest

from streams.connect.sinks.waiting_rows import Job, WaitingRows


class Rows:
    """As many rows as its length says."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count


def _job(count, **options):
    return Job(options.pop("owner", "me"), Rows(count), lambda refused, reason: None, **options)


@pytest.fixture
def waiting():
    return WaitingRows()


def test_a_job_is_due_at_once_unless_it_may_wait(waiting):
    """Rows of a live window must not wait for those of a backlog."""
    waiting.add(_job(1, wait_s=60.0), 100.0)
    assert waiting.due_s == 160.0
    waiting.add(_job(1), 101.0)
    assert waiting.due_s == 101.0


def test_what_was_taken_leaves_its_room_and_its_urgency(waiting):
    """Otherwise the queue counts as full, and the next insert as due, without end."""
    waiting.add(_job(3), 1.0)
    waiting.add(_job(4, wait_s=9.0), 2.0)
    waiting.add(_job(5, wait_s=9.0), 3.0)
    assert [len(job.rows) for job in waiting.take(7)] == [3, 4]
    assert (waiting.rows, waiting.due_s) == (5, 12.0)
    assert [len(job.rows) for job in waiting.take(1)] == [5]
    assert (waiting.rows, waiting.due_s, bool(waiting)) == (0, math.inf, False)


def test_an_owner_that_leaves_takes_its_rows_along(waiting):
    """The number is returned, because metrics count what was given up."""
    waiting.add(_job(3, owner="gone"), 1.0)
    waiting.add(_job(4, wait_s=5.0), 1.0)
    assert waiting.forget("gone") == 3
    assert (waiting.rows, waiting.due_s) == (4, 6.0)
