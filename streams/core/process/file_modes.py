"""Modes of files: state and secrets are for the user that the process runs as."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from streams.core.errors import UsageError

_OTHERS = 0o077
_OTHERS_WRITE = 0o022


def private_folder(path: Path) -> None:
    """Make the folder, mode 0700; take the others' rights to one that was there and is ours."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(0o700)


def refuse_loose(name: str, path: Path) -> None:
    """`UsageError` where others may read a secret file of ours, or change one of any owner; ``name`` is the
    setting or option that names it. A file of another user, as an orchestrator mounts it, may be
    readable for others: this process cannot change its mode. `OSError` where there is none."""
    found = path.stat()
    loose = _OTHERS if found.st_uid == os.geteuid() else _OTHERS_WRITE
    if found.st_mode & loose:
        mode = stat.S_IMODE(found.st_mode)
        raise UsageError(
            f"{name}={path} has mode {mode:04o}: others may read or change it. `chmod 600 {path}`."
        )
