"""File modes: only the process's user may access state and secrets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from streams.core.errors import UsageError

_OTHERS = 0o077
_OTHERS_WRITE = 0o022


def private_folder(path: Path) -> None:
    """Create the folder with mode 0700, or remove the others' rights to an existing one of ours."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(0o700)


def refuse_loose(name: str, path: Path) -> None:
    """Raise `UsageError` where other users can read our secret file, or change one of any owner;
    ``name`` is its setting or option. Raises `OSError` where there is none."""
    found = path.stat()
    loose = _OTHERS if found.st_uid == os.geteuid() else _OTHERS_WRITE
    if found.st_mode & loose:
        mode = stat.S_IMODE(found.st_mode)
        raise UsageError(
            f"{name}={path} has mode {mode:04o}: others may read or change it. `chmod 600 {path}`."
        )
