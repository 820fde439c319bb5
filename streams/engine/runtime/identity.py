"""The member id of a worker process: host, state folder, slot and topics
(docs/protocols/commit.md).

Kafka returns the old partitions to a known id whatever it subscribes to (KIP-345), so the id
depends on the topics. Two holders of one id evict each other for ever, so a slot is locked before
joining.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from streams.core.errors import SlotInUse
from streams.core.process.file_lock import hold
from streams.engine.health.live_workers import member_prefix

_MEMBER = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)-[0-9a-f]{12}-(?P<slot>\d{1,5})-[0-9a-f]{8}"
)


class WorkerPlace(NamedTuple):
    """``host``: the name that the host gives itself."""

    host: str
    slot: int


class SlotLock:
    """Holds a slot of a state folder until `close` or the end of the process."""

    def __init__(self, state_dir: Path, slot: int) -> None:
        """Raises `SlotInUse` if another process holds the slot."""
        folder = state_dir / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        file = hold(folder / f"{slot}.lock")
        if file is None:
            raise SlotInUse(
                f"slot {slot} of {state_dir} is held by another worker process. Stop it (`dia "
                "status` shows its pid), or use another --slot or DIA_STATE_DIR."
            )
        self._file = file

    def close(self) -> None:
        self._file.close()


def member_id(instance: str, topics: Iterable[str]) -> str:
    return f"{instance}-{xxh3_64_hexdigest(chr(0).join(sorted(topics)).encode())[:8]}"


def place_of_member(member: str) -> WorkerPlace | None:
    """Where the worker of a `member_id` runs; None for another program's id."""
    found = _MEMBER.fullmatch(member)
    return None if found is None else WorkerPlace(found["host"], int(found["slot"]))


def instance_id(state_dir: Path, slot: int) -> str:
    """The name of a slot: stable over restarts, unique to this folder."""
    path = state_dir / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{uuid.uuid4().hex}")
        draft.write_text(uuid.uuid4().hex[:12])
        try:
            # link, not rename: of two processes that start at once, the first id wins.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return f"{member_prefix(state_dir)}{slot}"
