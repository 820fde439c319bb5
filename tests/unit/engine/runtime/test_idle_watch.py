"""When a partition counts as silent: an absent broker must not close its windows."""

from __future__ import annotations

import pytest

from streams.core.types import Watermarks
from streams.engine.runtime.partition.idle import ANSWER_AGE_MAX_S, IdleWatch

APPEND_MS = 1_000_000


def _watch(looks, idle_close_s=10.0):
    """Feed observations (time, position, stable, high, answered), one a second."""
    watch = IdleWatch(idle_close_s)
    for now_s, position, stable, high, answered_at in looks:
        watch.observe(now_s, position, Watermarks(stable, high, answered_at))
    return watch


def test_after_enough_silence_event_time_moves_on_as_the_clock_does():
    """Windows of a tenant that stopped sending close like those of all tenants."""
    watch = _watch([(float(s), 5, 5, 5, float(s)) for s in range(13)])
    assert watch.watermark_ms(9.9, APPEND_MS, 0) is None
    assert watch.watermark_ms(10.0, APPEND_MS, 0) == APPEND_MS + 10_000
    assert watch.watermark_ms(12.5, APPEND_MS, 0) == APPEND_MS + 12_500


@pytest.mark.parametrize(
    "look",
    [
        (8.0, 4, 5, 5, 8.0),
        (8.0, 5, 5, 6, 8.0),
        (8.0, 5, 5, 5, 8.0 - ANSWER_AGE_MAX_S - 0.1),
        (8.0, None, 5, 5, 8.0),
    ],
    ids=["behind", "an open transaction", "an old answer", "no position"],
)
def test_anything_but_silence_begins_the_count_again(look):
    """Each of these may hide records whose windows would close too early."""
    quiet = [(float(s), 5, 5, 5, float(s)) for s in range(8)]
    after = [(float(s), 5, 5, 5, float(s)) for s in range(9, 18)]
    watch = _watch([*quiet, look, *after])
    assert watch.watermark_ms(18.0, APPEND_MS, 0) is None
    assert watch.watermark_ms(19.0, APPEND_MS, 0) == APPEND_MS + 10_000


def test_without_an_answer_there_is_no_silence():
    """A consumer without any answer has observed no silence."""
    watch = IdleWatch(1.0)
    watch.observe(0.0, 5, None)
    assert watch.watermark_ms(100.0, APPEND_MS, 0) is None


def test_a_partition_that_never_had_a_record_has_no_event_time():
    """The partition has no window to close."""
    watch = _watch([(0.0, 0, 0, 0, 0.0)])
    assert watch.watermark_ms(100.0, 0, 0) is None


def test_records_end_the_silence():
    """The silence begins at the next observation without a record."""
    watch = _watch([(0.0, 5, 5, 5, 0.0)])
    watch.reset()
    assert watch.watermark_ms(100.0, APPEND_MS, 0) is None


def test_event_time_moves_on_after_the_clock_of_the_broker_went_back():
    """Otherwise open windows stay open for as long as the clock had been ahead."""
    watch = _watch([(float(s), 5, 5, 5, float(s)) for s in range(13)])
    later_ms = APPEND_MS + 86_400_000
    assert watch.watermark_ms(10.0, APPEND_MS, later_ms) == later_ms + 10_000
    assert watch.watermark_ms(12.0, APPEND_MS, later_ms + 10_000) == later_ms + 12_000


@pytest.mark.parametrize(("answered_s_ago", "closes"), [(2.0, True), (2.1, False)])
def test_an_answer_counts_for_two_seconds(answered_s_ago, closes):
    """Fetches are answered several times a second: after 2 s without an answer the broker may be
    away and records may arrive unseen.
    """
    watch = _watch([(float(s), 5, 5, 5, s - answered_s_ago) for s in range(12)])
    assert (watch.watermark_ms(11.0, APPEND_MS, 0) is not None) is closes
