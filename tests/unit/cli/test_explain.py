"""`dia explain`."""

from __future__ import annotations

import json

from streams.cli import main
from streams.operate.error_codes import error_codes


def test_a_code_is_explained(capsys):
    """An operator finds a code in a dead letter and looks up the next step."""
    assert main(["explain", "wrong_type"]) == 0
    shown = capsys.readouterr().out
    assert "becomes a dead letter" in shown
    assert "dia dlq list --error wrong_type" in shown


def test_a_code_of_two_meanings_shows_both(capsys):
    """A tenant beyond its quota gets a dead letter from a worker and an answer from the edge, with
    one code.
    """
    assert main(["--json", "explain", "over_quota"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["code"] for line in lines] == ["over_quota"] * 2
    assert len({line["dia"] for line in lines}) == 2


def test_without_a_code_all_are_listed(capsys):
    """The list can be searched."""
    assert main(["--json", "explain"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["code"] for line in lines] == [each.code for each in error_codes()]


def test_a_misspelt_code_gets_near_ones(capsys):
    """Users type codes from memory."""
    assert main(["explain", "changelog_gapp"]) == 2
    assert "Did you mean changelog_gap" in capsys.readouterr().err
    assert main(["explain", "\u2603"]) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_a_code_is_explained_by_more_than_its_words():
    """A reader of "Timestamp too old." has learned nothing that the code had not said."""
    repeated = {
        each.code
        for each in error_codes()
        if {*each.summary.lower().rstrip(".").split()} - {"error"} <= {*each.code.split("_")}
    }
    assert repeated == {"usage", "dependency_unreachable", "dependency_late"}
