"""A dead letter of stage ``window`` holds a closed window: no record failed that a replay could bring back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.app import MODEL_METRICS, TRAIN_RESULTS, app
from streams.core.settings import Settings
from streams.operate.dlq.verdict import verdicts
from streams.operate.replay.journal.dispositions import Dispositions
from streams.operate.replay.plan.assess import Action, Assessor
from streams.operate.replay.plan.plan import Terms
from tests.unit.operate.dlq.test_verdict import GOOD, LIMITS, buried


@pytest.mark.parametrize(
    "terms", [Terms(), Terms(on_failure="park"), Terms(target=MODEL_METRICS.name)]
)
async def test_a_plan_leaves_it_where_it_is(terms):
    """Sent to the source topic, its value would be counted as an event, or come back as a bad record."""
    letter = buried(GOOD, stage="window", code="over_quota")
    [found] = await Assessor(terms, Settings(), app.topology, None).assess([letter], Dispositions())
    assert (found.action, found.reason) == (Action.LEAVE, "closed_window")
    assert found.record is None
    assert not found.decided, "`dia dlq discard` may end it"


async def test_no_code_of_today_judges_it():
    """Its value may well decode as an event."""
    [verdict] = await verdicts(None, [buried(GOOD, stage="window")], LIMITS)
    assert (verdict.passes, verdict.code) == (None, "closed_window")


def test_it_is_its_tenants():
    """A token of one tenant lists the windows of no other."""
    value = b'{"tenant_id": "a", "table": "counts"}'
    letter = buried(value, stage="window", key=b"a")
    assert letter.tenant == "a"
    assert replace(letter, source=TRAIN_RESULTS).tenant == "a"
