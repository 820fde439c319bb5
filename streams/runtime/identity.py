"""Who a worker process is to its group: host, state folder, slot.

A static member keeps its partitions over a restart, but only if nobody else uses its id: two
holders would evict each other for ever. So a slot of a state folder is locked before joining.
"""

from __future__ import annotations

import fcntl
import socket
import uuid
from pathlib import Path
from typing import IO

from streams.errors import SlotInUse


class SlotLock:
    """Holds one slot of a state folder until the process ends; the kernel gives it back."""

    def __init__(self, state_dir: Path, slot: int) -> None:
        """Raises `SlotInUse` when another process holds the slot."""
        folder = state_dir / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / f"{slot}.lock").open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise SlotInUse(
                f"slot {slot} of {state_dir} is held by another worker process. Stop it "
                f"(`dia status` shows its pid), or give this one another --slot or DIA_STATE_DIR."
            ) from error


def instance_id(state_dir: Path, slot: int) -> str:
    """The group.instance.id of a slot: stable over restarts, unique to this folder."""
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
    return f"{socket.gethostname()}-{path.read_text().strip()}-{slot}"
