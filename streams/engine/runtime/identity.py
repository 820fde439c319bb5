"""The member id of a worker process in its group: host, state folder, slot, and the topics it reads.

A static member keeps its partitions over a restart, but only while its id has one holder: two
would evict each other for ever. So a slot of a state folder is locked before joining.

Kafka hands a known id its old partitions without asking which topics it names now (KIP-345). A
worker that came back with another set of agents would never get the topics that are new to it, or
would get partitions that it does not read. So the set of topics is part of the id: a changed worker
is a new member, and its group rebalances once the session of the old id is over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from streams.core.errors import SlotInUse
from streams.core.process.file_lock import hold
from streams.engine.health.live_workers import member_prefix


class SlotLock:
    """Holds one slot of a state folder until `close`, or the process ends."""

    def __init__(self, state_dir: Path, slot: int) -> None:
        """Raises `SlotInUse` when another process holds the slot."""
        folder = state_dir / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        file = hold(folder / f"{slot}.lock")
        if file is None:
            raise SlotInUse(
                f"slot {slot} of {state_dir} is held by another worker process. Stop it "
                f"(`dia status` shows its pid), or give this one another --slot or DIA_STATE_DIR."
            )
        self._file = file

    def close(self) -> None:
        """Give the slot back."""
        self._file.close()


def member_id(instance: str, topics: Iterable[str]) -> str:
    """The group.instance.id of ``instance`` while it reads ``topics``; their order does not count."""
    return f"{instance}-{xxh3_64_hexdigest(chr(0).join(sorted(topics)).encode())[:8]}"


def instance_id(state_dir: Path, slot: int) -> str:
    """The name of a slot: stable over restarts, unique to this folder. See `member_id`."""
    path = state_dir / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{uuid.uuid4().hex}")
        draft.write_text(uuid.uuid4().hex[:12])
        try:
            # link, not rename: of two processes that start at once, the first one's id stands.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return f"{member_prefix(state_dir)}{slot}"
