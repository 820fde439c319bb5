"""Sources of a setting, its bounds, and the messages for invalid values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from streams.core.errors import UsageError
from streams.core.settings import load
from streams.core.settings.contexts import stack_file
from streams.core.settings.declared import Settings

BOUNDED = [spec for spec in fields(Settings) if spec.metadata["low"] is not None]


def _step(spec) -> float:
    return 1 if spec.type == "int" else 0.001


def _read(home: Path, **values: object):
    environ = {f"DIA_{name.upper()}": str(value) for name, value in values.items()}
    return load({"DIA_HOME": str(home), **environ})


@pytest.mark.parametrize("edge", ["low", "high"])
def test_a_bound_is_accepted_and_one_step_beyond_is_refused(edge, tmp_path):
    """The range in the message is the range that applies."""
    assert len(BOUNDED) > 50
    for spec in BOUNDED:
        _judge(spec, edge, tmp_path)


def _judge(spec, edge, tmp_path):
    bound = spec.metadata[edge]
    value = bound if spec.type == "float" else int(bound)
    rest = {"session_timeout_s": 300} if spec.name == "commit_timeout_s" else {}
    rest |= {"commit_timeout_s": 1} if spec.name == "session_timeout_s" else {}
    settings, _ = _read(tmp_path, **rest, **{spec.name: value})
    assert getattr(settings, spec.name) == value
    beyond = value - _step(spec) if edge == "low" else value + _step(spec)
    low, high = spec.metadata["low"], spec.metadata["high"]
    with pytest.raises(UsageError, match=f"DIA_{spec.name.upper()}=.* allowed {low} to {high}"):
        _read(tmp_path, **rest, **{spec.name: beyond})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_nan_is_out_of_range(value, tmp_path):
    """Every comparison with NaN is false, whichever way it is written."""
    with pytest.raises(UsageError, match=r"DIA_COMMIT_INTERVAL_S=.* out of range"):
        _read(tmp_path, commit_interval_s=value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("trim_commits", "1.5", "is not a valid int .*allowed: 1 to 10000"),
        ("trim_commits", "many", "is not a valid int"),
        ("grace_s", "1e2", "is not a valid int"),
        ("commit_interval_s", "1 s", "is not a valid float .*allowed: 0.02 to 60"),
        ("misplaced_keys", "drop", "neither count nor refuse"),
        ("kernels", "fast", "neither on nor off"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name, value, said, tmp_path):
    """The message names the variable, which may come from a file."""
    with pytest.raises(UsageError, match=f"DIA_{name.upper()}.*{said}"):
        _read(tmp_path, **{name: value})


@pytest.mark.parametrize("value", ["count", "refuse"])
def test_both_values_for_misplaced_keys_are_accepted(value, tmp_path):
    """The test sets both values, also the one that is the default."""
    assert _read(tmp_path, misplaced_keys=value)[0].misplaced_keys == value


def test_a_commit_may_take_as_long_as_a_session_and_no_longer(tmp_path):
    """A revoked partition waits for its commit within the session timeout."""
    _read(tmp_path, commit_timeout_s=45, session_timeout_s=45)
    with pytest.raises(UsageError, match="DIA_COMMIT_TIMEOUT_S must not exceed"):
        _read(tmp_path, commit_timeout_s=45.1, session_timeout_s=45)


def test_a_misspelt_setting_is_refused(tmp_path):
    """It would have no effect."""
    with pytest.raises(UsageError, match="unknown setting DIA_GRACES, DIA_Z: unset it"):
        load({"DIA_HOME": str(tmp_path), "DIA_Z": "1", "DIA_GRACES": "1", "OTHER_Y": "1"})


def test_a_value_comes_from_the_source_with_the_highest_precedence(tmp_path):
    """Command line, environment, the running local stack, default; the source is reported."""
    file = stack_file(tmp_path)
    file.parent.mkdir(parents=True)
    stack = {"redis_url": "redis://stack:1", "grace_s": 7, "trim_commits": 8, "no_setting": 1}
    file.write_text(json.dumps(stack))
    settings, told = load(
        {
            "DIA_HOME": str(tmp_path),
            "DIA_GRACE_S": "9",
            "DIA_TRIM_COMMITS": "10",
            "DIA_LOG_LEVEL": "",
        },
        trim_commits=11,
        emit_rows_max=None,
    )
    found = (settings.redis_url, settings.grace_s, settings.trim_commits, settings.log_level)
    assert found == ("redis://stack:1", 9, 11, "info")
    sources = {one.name: one.source for one in told}
    assert sources["redis_url"] == "local stack"
    assert sources["grace_s"] == "environment"
    assert sources["trim_commits"] == "command line"
    assert sources["log_level"] == sources["emit_rows_max"] == "default"
    [grace] = [one for one in told if one.name == "grace_s"]
    assert (grace.variable, grace.value) == ("DIA_GRACE_S", "9")
    assert grace.doc


def test_an_unreadable_stack_file_counts_as_no_stack(tmp_path):
    """Its file may be incomplete: commands then say that no address is known."""
    file = stack_file(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text('{"grace_s": ')
    assert load({"DIA_HOME": str(tmp_path)})[0].grace_s == Settings().grace_s


def test_the_home_of_the_command_takes_precedence(tmp_path):
    """--home takes precedence over DIA_HOME, and the stack's file is read from there."""
    other = tmp_path / "other"
    file = stack_file(other)
    file.parent.mkdir(parents=True)
    file.write_text('{"grace_s": 33}')
    settings, _ = load({"DIA_HOME": str(tmp_path)}, home=str(other))
    assert (settings.home, settings.grace_s) == (str(other), 33)
    assert load({"DIA_HOME": str(tmp_path)})[0].home == str(tmp_path)


def test_the_default_home_is_that_of_the_user(tmp_path, monkeypatch):
    """Every path of state begins with it: "" would be the working folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load({})[0].home == str(tmp_path / "dia")


def test_replicas_without_a_cluster_are_refused_before_anything_uses_them(tmp_path):
    """A table without ReplicatedMergeTree would exist on one replica only."""
    with pytest.raises(UsageError, match="DIA_CLICKHOUSE_CLUSTER"):
        _read(tmp_path, clickhouse_shards="http://a:8123|http://b:8123")


def test_milliseconds_for_seconds_are_named(tmp_path):
    """The commonest reason for a value a thousand times too large."""
    with pytest.raises(UsageError, match=r"looks like milliseconds: write 0\.5 for 0\.5 s"):
        _read(tmp_path, commit_interval_s=500)


def test_a_misspelt_setting_gets_near_ones(tmp_path):
    """The list has more than a hundred names."""
    with pytest.raises(UsageError, match="Did you mean DIA_COMMIT_INTERVAL_S"):
        load({"DIA_HOME": str(tmp_path), "DIA_COMMIT_INTERVALL_S": "1"})
