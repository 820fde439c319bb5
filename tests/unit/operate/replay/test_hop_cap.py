"""A dead letter that fails at every replay is parked after a bounded number of replays."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.dispositions import Dispositions
from streams.operate.replay.plan.assess import Action, Assessor
from streams.operate.replay.plan.plan import Terms


def _letter(hops: int) -> DeadLetterRecord:
    """A dead letter of an undeclared topic, which is parked at once only for its number of replays."""
    return DeadLetterRecord(
        dlq=TopicPartition("t.dlq", 0), offset=0, timestamp_ms=0, key=None, value=b"", headers=(),
        fields={}, dialect="dia", id="t/0/0", topic=None, partition=None, source_offset=None,
        source_timestamp_ms=0, source=None, error_code="x", stage="decode", failed_ms=0, hops=hops,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "hops", "action"),
    [
        (Terms(), 2, Action.LEAVE),
        (Terms(), 3, Action.PARK),
        (Terms(hops_max=1), 0, Action.LEAVE),
        (Terms(hops_max=1), 1, Action.PARK),
    ],
)
async def test_the_fourth_replay_is_refused_and_the_dead_letter_parked(terms, hops, action):
    """After three failed replays an operator decides; a plan may set another number."""
    assessor = Assessor(terms, Settings(), app.topology, None)
    [found] = await assessor.assess([_letter(hops)], Dispositions())
    assert found.action is action
    assert (found.reason == "hop_cap") == (action is Action.PARK)
