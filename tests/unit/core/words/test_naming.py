"""An empty name is refused before any request is made."""

from __future__ import annotations

import pytest

from streams.cli import main
from streams.core.errors import UsageError
from streams.core.words.naming import NAME_CHARS_MAX, named

COMMANDS = [
    ("token", "create", "--role", "read", "--tenant", ""),
    ("token", "create", "--role", "admin", "--tenant", ""),
    ("query", "series", "--tenant", "", "--model", "m", "--metric", "x"),
    ("query", "model", "--tenant", "", "--model", "m"),
    ("policy", "changed", "", "spring"),
    ("dlq", "list", "--tenant", ""),
    ("dlq", "discard", "--tenant", "", "--reason", "x"),
    ("replay", "plan", "--topic", "model.metrics", "--tenant", ""),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_empty_tenant_is_a_usage_error(command, capsys, tmp_path):
    """`--tenant "$TENANT"` with an unset variable must not make a token for all tenants."""
    assert main(["--home", str(tmp_path), *command]) == 2
    assert "is a variable of your shell not set?" in capsys.readouterr().err


def test_a_name_is_as_long_as_that_of_a_record():
    """A longer name could not match any record."""
    assert named("x" * NAME_CHARS_MAX, "--tenant")
    with pytest.raises(UsageError, match="129 characters"):
        named("x" * (NAME_CHARS_MAX + 1), "--tenant")
