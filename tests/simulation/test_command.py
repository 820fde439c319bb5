"""`python -m streams.dev.simulation`, the command that runs and replays histories."""

from __future__ import annotations

import pytest

from streams.dev.simulation import __main__ as command
from streams.dev.simulation import seeds


def test_many_seeds_run_with_the_requested_broken_engine(capfd):
    """Otherwise "0 failed" would mean that this bug is not caught."""
    arguments = ["--story", "jobs", "--broken", "given_up_without_a_dead_letter"]
    assert command.main([*arguments, "--first", "0", "--seeds", "3", "--jobs", "1"]) == 1
    printed = capfd.readouterr().out
    assert "--broken given_up_without_a_dead_letter" in printed
    assert "3 seeds, 0 failed" not in printed


@pytest.mark.parametrize("rest", [["7"], ["--seeds", "1"], ["--every-broken", "1"]])
def test_an_unknown_broken_engine_is_refused_with_the_valid_names(rest, capfd):
    """The name of another story's broken engine is refused as well."""
    with pytest.raises(SystemExit) as refused:
        command.main([*rest, "--broken", "nothing_of_the_kind"])
    assert refused.value.code == 2
    assert "nothing_of_the_kind: one of" in capfd.readouterr().err


def test_a_failure_is_described_by_the_errors_in_its_group(monkeypatch):
    """Workers raise groups. A variant that does not fit the engine, and so proves nothing, was taken for one that the
    checks detect."""

    def simulate(seed, story):
        inside = ExceptionGroup("tasks", [TypeError("f() takes 1 positional argument")])
        raise ExceptionGroup("unhandled errors in a TaskGroup", [inside])

    monkeypatch.setattr(seeds, "simulate", simulate)
    failure = seeds.try_seed(0, "metrics")
    assert failure.error == "TypeError: f() takes 1 positional argument"
