"""When each token was last used, as ``HOME/access/last_uses.json``, for `dia token list`.

A process keeps the times in memory and merges them into the file once a minute and at its end. So a request
costs one entry of a dict and no access to the disk, and a kill -9 loses the uses of a minute. Processes with
homes of their own have files of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from streams.connect.access.tokens import TokenFile
from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_lock import exclusive
from streams.core.process.file_modes import private_folder

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 60.0
_LOCK_TIMEOUT_S: Final = 2.0


class _Document(msgspec.Struct):
    """The file: ``version`` 1, and by token id the time of its last use in ms since the epoch."""

    version: int
    uses: dict[str, int]


class LastUses:
    """Of the tokens of one file."""

    def __init__(self, path: Path, tokens: TokenFile) -> None:
        self._path = path
        self._tokens = tokens
        self._new: dict[str, int] = {}

    @classmethod
    def of(cls, home: Path, tokens: TokenFile) -> LastUses:
        return cls(home / "access" / "last_uses.json", tokens)

    def note(self, token_id: str, now_ms: int) -> None:
        """Of a token that is in the file, so the entries are bounded as the tokens are."""
        self._new[token_id] = now_ms

    async def run(self, clock: Clock) -> None:
        """Write until cancelled, and once more then."""
        try:
            while True:
                await clock.sleep(INTERVAL_S)
                await asyncio.to_thread(self.write)
        finally:
            self.write()

    def write(self) -> None:
        """Merge the new times. A file that cannot be read or written is logged, and the times are
        kept for the next attempt: no request fails for it."""
        new = dict(self._new)
        if not new:
            return
        try:
            private_folder(self._path.parent)
            with exclusive(self._path.with_suffix(".lock"), _LOCK_TIMEOUT_S, waiting=lambda: None):
                known = {token.id for token in self._tokens.read()}
                found = self._read()
                merged = {
                    one: max(found.get(one, 0), new.get(one, 0))
                    for one in {*found, *new}
                    if one in known
                }
                write_atomically(self._path, msgspec.json.encode(_Document(1, merged)))
        except (OSError, TimeoutError, ValueError, UsageError) as error:
            log.warning("last_uses_not_written", why=str(error))
            return
        for one, at_ms in new.items():
            if self._new.get(one) == at_ms:
                del self._new[one]

    def read(self) -> Mapping[str, int]:
        """By token id, ms since the epoch. Raises `UsageError` when the file cannot be read."""
        try:
            return self._read()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the last uses of tokens in {self._path} cannot be read: {error}. Remove the file: "
                "the next uses write it again."
            ) from error

    def _read(self) -> dict[str, int]:
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return {}
        if document.version != 1:
            raise ValueError("a newer version of dia wrote it")
        return document.uses
