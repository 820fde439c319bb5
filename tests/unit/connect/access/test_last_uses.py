"""When a token was last used: kept in memory, merged into one file, and no request fails for it."""

from __future__ import annotations

import asyncio
import stat

import pytest

from streams.connect.access.authentication import Authenticator
from streams.connect.access.last_uses import INTERVAL_S, LastUses
from streams.connect.access.refusals import Unauthenticated
from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import VirtualClock
from streams.core.errors import UsageError

NOW_MS = 1_700_000_000_000


@pytest.fixture
def file(tmp_path) -> TokenFile:
    return TokenFile.of(tmp_path)


def _created(file: TokenFile) -> tuple[str, str]:
    token, text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    return token.id, f"Bearer {text}"


def test_uses_of_many_processes_are_merged(tmp_path, file):
    """An edge and a console share the tokens: neither erases what the other has seen."""
    (first, first_text), (second, second_text) = _created(file), _created(file)
    edge, console = LastUses.of(tmp_path, file), LastUses.of(tmp_path, file)
    Authenticator(file, edge).token_of(first_text, NOW_MS + 5)
    Authenticator(file, console).token_of(first_text, NOW_MS + 3)
    Authenticator(file, console).token_of(second_text, NOW_MS + 4)
    edge.write()
    console.write()
    assert edge.read() == {first: NOW_MS + 5, second: NOW_MS + 4}
    path = tmp_path / "access" / "last_uses.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_refused_token_is_not_used(tmp_path, file):
    """A guess must not look like a use by the holder."""
    token_id, text = _created(file)
    uses = LastUses.of(tmp_path, file)
    with pytest.raises(Unauthenticated):
        Authenticator(file, uses).token_of(text[:-1] + "~", NOW_MS)
    uses.write()
    assert token_id not in uses.read()


def test_uses_of_revoked_tokens_are_dropped(tmp_path, file):
    """The file does not grow with every token there ever was."""
    (gone, gone_text), (stays, stays_text) = _created(file), _created(file)
    uses = LastUses.of(tmp_path, file)
    desk = Authenticator(file, uses)
    desk.token_of(gone_text, NOW_MS)
    uses.write()
    file.revoke(gone)
    desk.token_of(stays_text, NOW_MS)
    uses.write()
    assert uses.read() == {stays: NOW_MS}


def test_a_file_that_cannot_be_written_fails_no_request_and_loses_no_use(tmp_path, file):
    """The time of a use is worth less than the request."""
    token_id, text = _created(file)
    uses = LastUses.of(tmp_path, file)
    path = tmp_path / "access" / "last_uses.json"
    path.write_text("{")
    Authenticator(file, uses).token_of(text, NOW_MS)
    uses.write()
    assert path.read_text() == "{"
    with pytest.raises(UsageError, match="Remove the file"):
        uses.read()
    path.unlink()
    uses.write()
    assert uses.read() == {token_id: NOW_MS}


async def test_uses_are_written_once_a_minute_and_at_the_end(tmp_path, file):
    """A request costs no write, and a stop loses no use."""
    token_id, _ = _created(file)
    clock, uses = VirtualClock(), LastUses.of(tmp_path, file)
    running = asyncio.create_task(uses.run(clock))
    uses.note(token_id, NOW_MS)
    await asyncio.sleep(0)
    assert uses.read() == {}
    await clock.advance(INTERVAL_S)
    async with asyncio.timeout(10):
        while not uses.read():  # noqa: ASYNC110 - a file of another thread
            await asyncio.sleep(0.001)
    uses.note(token_id, NOW_MS + 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert uses.read() == {token_id: NOW_MS + 1}
