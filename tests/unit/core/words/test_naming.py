"""A name that a person leaves empty is refused before anything is asked of anybody."""

from __future__ import annotations

import pytest

from streams.cli import main
from streams.core.errors import UsageError
from streams.core.words.naming import NAME_CHARS_MAX, named

COMMANDS = [
    ("edge", "token", "create", "--role", "read", "--tenant", ""),
    ("edge", "token", "create", "--role", "admin", "--tenant", ""),
    ("query", "series", "--tenant", "", "--model", "m", "--metric", "x"),
    ("query", "model", "--tenant", "", "--model", "m"),
    ("policy", "changed", "", "spring"),
    ("dlq", "list", "--tenant", ""),
    ("dlq", "discard", "--tenant", "", "--reason", "x"),
    ("replay", "plan", "--topic", "model.metrics", "--tenant", ""),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_empty_tenant_is_wrong_usage(command, capsys, tmp_path):
    """`--tenant "$TENANT"` with the variable unset once made a token of all tenants."""
    assert main(["--home", str(tmp_path), *command]) == 2
    assert "is a variable of your shell not set?" in capsys.readouterr().err


def test_a_name_is_as_long_as_that_of_a_record():
    """A longer one could match nothing."""
    assert named("x" * NAME_CHARS_MAX, "--tenant")
    with pytest.raises(UsageError, match="129 characters"):
        named("x" * (NAME_CHARS_MAX + 1), "--tenant")
