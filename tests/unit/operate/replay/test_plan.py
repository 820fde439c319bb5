"""The file of a replay plan: it runs unchanged or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.core.errors import RefusedBySafety, UsageError
from streams.operate.replay.plan import plan as plans
from streams.operate.replay.plan.plan import ReplayPlan, Selection, Terms

PLAN = ReplayPlan(
    id="p-1",
    cluster_id="c",
    source="model.metrics",
    made_at_ms=1_760_000_000_000,
    made_by="alice",
    asked={"errors": ["schema_invalid"]},
    terms=Terms(patch=({"op": "remove", "path": "/x"},)),
    behind={"already_replayed": 2},
    selections=(
        Selection(partition=0, end=40, replay="3-5,9", park="12"),
        Selection(partition=2, end=7, replay="0"),
    ),
).sealed()


@pytest.fixture
def path(tmp_path):
    """A file that holds the plan."""
    plans.write(PLAN, tmp_path / "plan.json")
    return tmp_path / "plan.json"


def test_a_plan_is_read_as_it_was_written(path):
    """The plan may run on another machine."""
    assert plans.read(path) == PLAN


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("selections", 0, "replay"), "3-6,9"),
        (("selections", 1, "partition"), 1),
        (("terms", "target"), "train.results"),
        (("terms", "on_failure"), "park"),
        (("made_by",), "bob"),
        (("asked",), {}),
        (("digest",), "0" * 64),
    ],
)
def test_an_edited_plan_is_refused(path, where, value):
    """The approved plan was another one."""
    content = json.loads(path.read_text())
    node = content
    for step in where[:-1]:
        node = node[step]
    assert node[where[-1]] != value
    node[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(RefusedBySafety, match="was changed after it was made"):
        plans.read(path)


def test_a_plan_of_another_format_is_refused_with_a_remedy(path):
    """The message names the format, since the fields may have another meaning and the digest would
    report an edit.
    """
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(RefusedBySafety, match=r"format 2, .* runs format 1"):
        plans.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 1}',
        '{"format": "1"}',
        "not JSON",
    ],
)
def test_another_file_is_refused(path, text):
    """The message names the path, and the command that writes a plan."""
    path.write_text(text)
    with pytest.raises(UsageError, match=r"is no replay plan: .*dia replay plan --out"):
        plans.read(path)


def test_invalid_ranges_of_offsets_are_refused(path):
    """The error comes when the file is read, not in the middle of a run."""
    content = json.loads(path.read_text())
    content["selections"][0]["park"] = "9-3"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="is no replay plan: "):
        plans.read(path)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    """For an absent file or a folder the message contains the system's error."""
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        plans.read(tmp_path / "absent.json")
    with pytest.raises(UsageError, match=r"cannot be written to .*: Is a directory"):
        plans.write(PLAN, Path(tmp_path))


def test_a_plan_counts_its_dead_letters_and_lists_its_partitions():
    """The confirmation shows these numbers, and each owner runs its partitions."""
    assert PLAN.letters == 6
    assert [s.letters for s in PLAN.selections] == [5, 1]
    assert PLAN.selection(2) == PLAN.selections[1]
    assert PLAN.selection(1) is None
    assert PLAN.selections[1].to_park.offsets().tolist() == []


def test_a_journal_keeps_a_plan_without_its_offsets():
    """Offsets follow in pieces: those of a million dead letters do not fit one record."""
    head = PLAN.head()
    assert (head.letters, head.digest, head.terms) == (0, PLAN.digest, PLAN.terms)
    assert [(s.partition, s.end) for s in head.selections] == [(0, 40), (2, 7)]
