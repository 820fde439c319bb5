"""Machine, versions and source of a result."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec
from xxhash import xxh3_64_hexdigest

from streams.core.process.version import app_version

PACKAGES = (
    "aiokafka",
    "chdb",
    "clickhouse-connect",
    "cramjam",
    "msgspec",
    "numpy",
    "pyarrow",
    "rocksdict",
)
"""the packages with the most effect on speed"""

_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_MEMORY = re.compile(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` distinguishes machines without naming them; their absolute figures are not
    comparable."""

    id: str
    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, Linux {self.kernel}, "
            f"Python {self.python}."
        )


def this_machine() -> Machine:
    """Unreadable values are "unknown"."""
    cpu = _found(_MODEL, "/proc/cpuinfo") or platform.machine()
    memory_kib = int(_found(_MEMORY, "/proc/meminfo") or 0)
    cores = len(os.sched_getaffinity(0))
    facts = (_text("/etc/machine-id").strip(), cpu, str(cores), str(memory_kib))
    return Machine(
        id=xxh3_64_hexdigest("\0".join(facts).encode()),
        cpu=cpu,
        cores=cores,
        memory_gib=round(memory_kib / (1 << 20)),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def versions() -> dict[str, str]:
    found = {"dia-streams": app_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _found(pattern: re.Pattern[str], path: str) -> str:
    found = pattern.search(_text(path))
    return found.group(1).strip() if found else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


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
