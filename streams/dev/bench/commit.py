"""The commit of the measured source."""

from __future__ import annotations

import subprocess
from pathlib import Path

ANSWER_S = 10.0


def commit_of(root: Path) -> str:
    """With "+" if files are changed; "" if unknown."""
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changed is None:
        return ""
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", "-C", str(root), *arguments),  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
