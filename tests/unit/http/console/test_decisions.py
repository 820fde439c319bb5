"""One letter, a selection or a group is parked or discarded; and a plan of single letters."""

from __future__ import annotations

import pytest

from agents.app import MODEL_METRICS
from streams.connect.broker.opened import opened
from tests.unit.operate.dlq.mailbag import fill, six

PATH = "/api/dlq/decisions"


@pytest.fixture
async def filled(broker):
    await fill(broker, *six())
    return broker


async def _letters(http, headers) -> dict[str, dict]:
    found = (await http.get("/api/dlq/letters", headers=headers)).json()
    return {one["place"]: one for one in found["letters"]}


def _asked(*letters: str, **more) -> dict:
    found = {"topic": MODEL_METRICS.name, "decision": "discard", "reason": "load test"}
    return {**found, "letters": [*letters], "expected": len(letters) or 6, **more}


async def test_a_selection_is_discarded_and_no_other_letter(http, bearer, filled):
    """Two ticked rows of a list of six: partition and offset together name a letter."""
    before = await _letters(http, bearer("admin"))
    chosen = [place for place, one in before.items() if one["error_code"] == "wrong_type"]
    answer = await http.post(PATH, headers=bearer("admin"), json=_asked(*chosen))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["decided"], answer.json()["unchanged"]) == (2, 0)
    after = await _letters(http, bearer("admin"))
    assert {place for place, one in after.items() if one["disposition"] != "open"} == {*chosen}
    again = await http.post(PATH, headers=bearer("admin"), json=_asked(*chosen))
    assert (again.json()["decided"], again.json()["unchanged"]) == (0, 2)


async def test_a_group_is_parked_with_a_copy_in_the_parking_topic(http, bearer, filled):
    """What waits for a person must be readable where the guides say it is."""
    asked = _asked(error=["invalid_utf8"], decision="park", expected=1)
    answer = await http.post(PATH, headers=bearer("admin"), json=asked)
    assert answer.json()["decided"] == 1, answer.text
    async with opened(filled.reader()) as reader:
        [(tp, bounds)] = (
            await reader.bounds([one for one in _parking() if one.partition == 1])
        ).items()
        assert bounds.stable_end > 0, tp
    letters = await _letters(http, bearer("admin"))
    assert [one["disposition"] for one in letters.values()].count("parked") == 1


def _parking():
    from streams.core.types import TopicPartition

    return [TopicPartition(MODEL_METRICS.parked, one) for one in range(MODEL_METRICS.partitions)]


async def test_more_letters_than_were_shown_are_refused(http, bearer, filled):
    """Letters that arrive between the look and the click were not agreed to."""
    answer = await http.post(PATH, headers=bearer("admin"), json=_asked(expected=5))
    assert (answer.status_code, answer.json()["code"]) == (409, "refused_by_safety")
    assert {one["disposition"] for one in (await _letters(http, bearer("admin"))).values()} == {
        "open"
    }


async def test_a_bound_token_decides_of_its_own_letters_only(http, bearer, filled):
    """Naming another tenant's letter must neither decide of it nor tell that it exists."""
    before = await _letters(http, bearer("admin"))
    foreign = [place for place, one in before.items() if one["tenant"] != "acme"]
    assert foreign
    answer = await http.post(PATH, headers=bearer("operate"), json=_asked(*foreign))
    assert (answer.status_code, answer.json()["letters"]) == (200, 0)
    assert (await _letters(http, bearer("admin"))) == before


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"reason": "  "}, 400),
        ({"decision": "delete"}, 400),
        ({"letters": ["model.metrics.dlq/x/1"]}, 400),
        ({"letters": ["m/0/1"] * 1001}, 400),
    ],
)
async def test_wrong_bodies_are_refused(http, bearer, filled, wrong, status):
    """Nothing is decided without a reason, or of letters that are not named."""
    answer = await http.post(PATH, headers=bearer("admin"), json={**_asked(), **wrong})
    assert answer.status_code == status, answer.text


async def test_a_reader_decides_nothing(http, bearer, filled):
    """The role decides."""
    assert (await http.post(PATH, headers=bearer("read"), json=_asked())).status_code == 403


async def test_one_letter_is_planned_alone(http, bearer, filled):
    """The button of one letter must not replay its neighbours."""
    before = await _letters(http, bearer("admin"))
    [place] = [place for place, one in before.items() if one["error_code"] == "retries_exhausted"]
    asked = {"topic": MODEL_METRICS.name, "letters": [place]}
    answer = await http.post("/api/dlq/plans", headers=bearer("admin"), json=asked)
    assert answer.status_code == 201, answer.text
    assert [one["error"] for one in answer.json()["errors"]] == ["retries_exhausted"]
