"""A group of dead letters as an issue: since when, how often, which tenants it affects."""

from __future__ import annotations

import pytest

from streams.operate.dlq import tally as module
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.tally import HOURS, DeadLetterTally
from tests.unit.operate.dlq.mailbag import T

HOUR_MS = 3_600_000


class Letter:
    """What a tally reads of a dead letter."""

    agent = "aggregate_metrics"
    error_code = "wrong_type"
    dlq = "model.metrics.dlq/1"
    path = DeadLetterRecord.path

    def __init__(self, offset: int, ago_ms: int, tenant: str, message: str) -> None:
        self.offset = offset
        self.failed_ms = T - ago_ms
        self.tenant = tenant
        self.error_message = message


def _tally(*letters: Letter) -> DeadLetterTally:
    found = DeadLetterTally(("error", "path", "agent"), T, courses=True)
    found.add(letters)
    return found


def test_letters_of_one_cause_are_one_group_with_its_course():
    """The same error in two fields is two issues, and the letters of an hour are one bar."""
    value = "$.value: Expected `float`, got `str`"
    first, second = _tally(
        Letter(1, 3 * HOUR_MS, "acme", value),
        Letter(2, 10, "globex", value),
        Letter(3, 20, "acme", value),
        Letter(4, 30 * HOUR_MS, "acme", "$.ts: Expected `int`, got `str`"),
    ).groups()
    assert first.names == ("wrong_type", "$.value", "aggregate_metrics")
    assert (first.letters, first.course.tenants, first.course.tenants_more) == (3, 2, False)
    assert (first.course.hours[-1], first.course.hours[-4], sum(first.course.hours)) == (2, 1, 3)
    assert first.course.sample == "model.metrics.dlq/1/2"
    assert second.names[1] == "$.ts"
    assert (second.letters, sum(second.course.hours), len(second.course.hours)) == (1, 0, HOURS)


@pytest.mark.parametrize(
    ("message", "path"), [("key: expected x", "key"), ("shard away", ""), ("a: b", ""), ("", "")]
)
def test_only_a_field_is_a_path(message, path):
    """A message of an app may begin with any word and a colon."""
    [group] = _tally(Letter(1, 0, "acme", message)).groups()
    assert group.names[1] == path


def test_names_of_tenants_are_bounded_over_all_groups(monkeypatch):
    """A hostile producer chooses keys: the count then says "at least"."""
    monkeypatch.setattr(module, "TENANTS_MAX", 3)
    letters = [Letter(number, 0, f"t-{number}", "$.value: x") for number in range(5)]
    [group] = _tally(*letters).groups()
    assert (group.letters, group.course.tenants, group.course.tenants_more) == (5, 3, True)
