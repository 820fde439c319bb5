"""`dia dlq discard` and `park`: each records the decision and its author, and deletes nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import MODEL_METRICS
from streams.cli import main
from streams.core.types import OutboundRecord, TopicPartition
from tests.unit.operate.dlq.mailbag import fill

BAD = ["--topic", "model.metrics", "--error", "wrong_type"]


def said(capsys, *arguments):
    """The output of a command, as objects."""
    capsys.readouterr()
    assert main(["dlq", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def dispositions(capsys):
    return {row["id"].rpartition("/")[2]: row["disposition"] for row in said(capsys, "list")[:5]}


def test_a_decision_is_recorded_and_shown_everywhere(filled, capsys):
    """The decision has an author and a reason. The dead letter stays, and every view shows the
    decision.
    """
    [done] = said(capsys, "discard", *BAD, "--reason", "load test", "--actor", "ann", "--yes")
    assert done == {"disposition": "discarded", "letters": 2, "unchanged": 0}
    assert dispositions(capsys) == {
        "41": "discarded", "42": "discarded", "43": "open", "44": "open", "45": "open"
    }  # fmt: skip
    groups = said(capsys, "stats", "--by", "disposition")
    assert {row["disposition"]: row["letters"] for row in groups[1:]} == {"discarded": 2, "open": 4}
    assert main(["dlq", "show", "model.metrics/1/41"]) == 0
    assert "decided    discarded by ann at 2" in capsys.readouterr().out
    [sheet] = said(capsys, "show", "model.metrics/1/41")
    [decision] = sheet["decisions"]
    assert (decision["actor"], decision["reason"]) == ("ann", "load test")


def test_a_repeated_decision_changes_nothing(filled, capsys):
    """A script that runs twice must not record two decisions."""
    said(capsys, "discard", *BAD, "--yes")
    [again] = said(capsys, "discard", *BAD, "--yes")
    assert (again["letters"], again["unchanged"]) == (0, 2)
    assert len(said(capsys, "show", "model.metrics/1/41")[0]["decisions"]) == 1


def test_a_parked_dead_letter_may_be_discarded_and_a_discarded_one_not_parked(filled, capsys):
    """Parking asks an operator for a decision; discarding is final."""
    said(capsys, "park", *BAD, "--yes")
    assert dispositions(capsys)["41"] == "parked"
    lot = filled.log(TopicPartition(MODEL_METRICS.parked, 1)).read_committed(0, 10)
    assert len(lot.values) == 2
    said(capsys, "discard", *BAD, "--limit", "1", "--yes")
    said(capsys, "park", *BAD, "--yes")
    found = dispositions(capsys)
    assert (found["41"], found["42"]) == ("discarded", "parked")


def test_dead_letters_after_the_question_are_not_decided(filled, monkeypatch, capsys):
    """The decision covers the dead letters that were counted, even if the queue grows meanwhile."""

    def agree(question, **_):
        before = filled.log(TopicPartition(MODEL_METRICS.dlq, 1)).read_committed(0, 1)
        late = OutboundRecord(before.tp, b"acme", b"{", before.headers[0], 5)
        asyncio.run(fill(filled, late))
        return "2 dead letters" in question

    monkeypatch.setattr("typer.confirm", agree)
    [done] = said(capsys, "discard", *BAD)
    assert done["letters"] == 2
    assert [row["disposition"] for row in said(capsys, "list", *BAD)] == [
        *("discarded", "discarded", "open")
    ]


def test_the_answer_no_changes_nothing(filled, monkeypatch, capsys):
    """Each error and its count are shown before the question."""
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert main(["dlq", "discard", *BAD]) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "wrong_type: 2" in captured.err
    assert set(dispositions(capsys).values()) == {"open"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["discard", "--yes"], 2, "which letters? Give a filter"),
        (["park", "--topic", "orders-dlt", "--yes"], 2, "orders-dlt is not a DLQ of dia"),
        (["discard", "--error", "no_such", "--yes"], 0, "no dead letters there"),
    ],
)
def test_an_invalid_selection_is_refused(filled, capsys, arguments, code, sentence):
    """An empty filter selects all dead letters, which must be requested explicitly."""
    assert main(["dlq", *arguments]) == code
    assert sentence in capsys.readouterr().err
    assert set(dispositions(capsys).values()) == {"open"}


def test_all_dead_letters_can_be_selected(filled, capsys):
    """For instance after a rehearsal."""
    [done] = said(capsys, "discard", "--all", "--yes")
    assert done["letters"] == 6


def test_a_dead_letter_of_a_concurrent_decision_is_reported(filled, monkeypatch, capsys):
    """With two concurrent decisions the second fences the first, which must not look like an error
    of the broker.
    """
    from streams.core.errors import ProducerFenced
    from streams.operate.replay.journal import control

    async def fenced(*_):
        raise ProducerFenced("fenced")

    monkeypatch.setattr(control, "dispose", fenced)
    assert main(["dlq", "discard", *BAD, "--yes"]) == 5
    assert "took the partition over" in capsys.readouterr().err
