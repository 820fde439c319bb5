"""Every operation writes one audit line at its start and one at its end."""

from __future__ import annotations

import json
import stat
from contextlib import suppress

import pytest

from streams.connect.access.tokens import AccessToken
from streams.core.clock import SystemClock
from streams.core.errors import RefusedBySafety, RequestRefused
from streams.http.console.access.authorizer import Principal
from streams.http.console.access.operations import Operations

HOLDER = Principal(
    AccessToken(id="0a0b0c0d", tenant="acme", role="operate", sha256="f" * 64, created_ms=0)
)


def _lines(folder) -> list[dict]:
    [path] = folder.glob("operations-*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "done"), (RefusedBySafety("no"), "refused_by_safety"), (OSError("x"), "failed")],
)
async def test_the_outcome_is_recorded(tmp_path, error, outcome):
    """The audit file also contains attempts and their authors, and never the secret or its hash."""
    operations = Operations(tmp_path / "access", SystemClock())
    with suppress(RefusedBySafety, OSError):
        async with operations.noted(HOLDER, "replay_submit", {"plan": "p"}):
            assert [line["outcome"] for line in _lines(tmp_path / "access")] == ["begun"]
            if error is not None:
                raise error
    lines = _lines(tmp_path / "access")
    assert [line["outcome"] for line in lines] == ["begun", outcome]
    assert {line["operation"] for line in lines} == {lines[0]["operation"]}
    assert lines[0]["token"] == "0a0b0c0d"
    assert "ffff" not in json.dumps(lines)


async def test_an_operation_that_cannot_be_recorded_is_refused(tmp_path):
    """A full disk must not allow operations without an audit line."""
    (tmp_path / "access").write_text("a file where the folder should be")
    done = False
    with pytest.raises(RequestRefused, match="journaled"):
        async with Operations(tmp_path / "access", SystemClock()).noted(HOLDER, "x", {}):
            done = True
    assert not done


async def test_a_degraded_console_refuses_new_operations_and_allows_ending_them(tmp_path):
    """An operator must be able to stop a replay especially while a shard is away."""
    operations = Operations(tmp_path / "access", SystemClock(), read_only=lambda: True)
    with pytest.raises(RequestRefused, match="degraded"):
        async with operations.noted(HOLDER, "replay_submit", {}):
            pass
    async with operations.noted(HOLDER, "replay_pause", {}, begins=False):
        pass
    assert [line["action"] for line in _lines(tmp_path / "access")] == ["replay_pause"] * 2
