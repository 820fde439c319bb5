"""The live changelog entries in log order, and which to write again.

While the log is longer than `_LOG_PER_LIVE` times its live bytes, each commit writes some of the
oldest live entries again, so that the log before them can be trimmed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from streams.engine.state.changelog import entry_bytes
from streams.engine.state.table import Entry

_LOG_PER_LIVE = 3
_LEAST_REWRITE_SHARE = 16
"""a commit rewrites at least 1/16 of the slack while the log is too long"""


class EntryPlace(NamedTuple):
    """The newest entry of a key: offset of its part, log bytes before it, its own bytes."""

    offset: int
    before_bytes: int
    size_bytes: int


class LiveKeys:
    """The live entries of one partition, oldest first. A log below ``slack_bytes`` is not
    shortened."""

    def __init__(self, slack_bytes: int) -> None:
        self._slack_bytes = slack_bytes
        self._places: dict[bytes, EntryPlace] = {}
        self.live_bytes = 0
        self.written_bytes = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def log_bytes(self) -> int:
        """Entry bytes from the oldest live entry to the end of the log."""
        oldest = next(iter(self._places.values()), None)
        return self.written_bytes - oldest.before_bytes if oldest is not None else 0

    def base_offset(self, replaced: AbstractSet[bytes], end: int) -> int:
        """The offset below which nothing is live once the keys ``replaced`` are written or deleted
        at ``end`` or later."""
        for key, place in self._places.items():
            if key not in replaced:
                return place.offset
        return end

    def applied(
        self, offset: int, entries: Iterable[Entry]
    ) -> list[tuple[bytes, EntryPlace | None]]:
        """Note committed entries of the part at ``offset``; the new place of each key."""
        places: list[tuple[bytes, EntryPlace | None]] = []
        for key, value in entries:
            before = self._places.pop(key, None)
            if before is not None:
                self.live_bytes -= before.size_bytes
            size = entry_bytes(key, value)
            place = None
            if value is not None:
                place = self._places[key] = EntryPlace(offset, self.written_bytes, size)
                self.live_bytes += size
            self.written_bytes += size
            places.append((key, place))
        return places

    def load(self, places: Iterable[tuple[bytes, EntryPlace]], written_bytes: int) -> None:
        """Start from a store's places, in any order."""
        self._places = dict(sorted(places, key=lambda item: item[1].before_bytes))
        self.live_bytes = sum(place.size_bytes for place in self._places.values())
        self.written_bytes = written_bytes

    def overdue(self, last_commit_bytes: int) -> list[bytes]:
        """Keys to rewrite in the next commit, oldest first: at least as many bytes as the last
        commit wrote, while the log is too long."""
        if self.log_bytes <= max(self._slack_bytes, _LOG_PER_LIVE * self.live_bytes):
            return []
        budget = max(self._slack_bytes // _LEAST_REWRITE_SHARE, last_commit_bytes)
        keys: list[bytes] = []
        for key, place in self._places.items():
            if budget <= 0:
                break
            keys.append(key)
            budget -= place.size_bytes
        return keys
