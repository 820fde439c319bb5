"""Every operation leaves a line before it begins and one when it ended."""

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
async def test_what_came_of_it_is_noted(tmp_path, error, outcome):
    """Whoever reads the file later sees attempts too, and by whom; never the secret or its hash."""
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


async def test_what_cannot_be_noted_is_not_done(tmp_path):
    """A full disk must not open the time without an audit."""
    (tmp_path / "access").write_text("a file where the folder should be")
    done = False
    with pytest.raises(RequestRefused, match="journaled"):
        async with Operations(tmp_path / "access", SystemClock()).noted(HOLDER, "x", {}):
            done = True
    assert not done


async def test_degraded_nothing_new_begins_and_everything_may_end(tmp_path):
    """Whoever must stop a replay must be able to when a shard is away, then above all."""
    operations = Operations(tmp_path / "access", SystemClock(), read_only=lambda: True)
    with pytest.raises(RequestRefused, match="degraded"):
        async with operations.noted(HOLDER, "replay_submit", {}):
            pass
    async with operations.noted(HOLDER, "replay_pause", {}, begins=False):
        pass
    assert [line["action"] for line in _lines(tmp_path / "access")] == ["replay_pause"] * 2
