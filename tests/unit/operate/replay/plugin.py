"""A distribution with one transform, made visible without an installation."""

from __future__ import annotations

import sys
from pathlib import Path


def install(monkeypatch, folder: Path, module: str, function: str, source: str) -> str:
    """Returns the name of its entry point in the group dia.transforms."""
    path = folder / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    info = folder / f"{module}-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[dia.transforms]\n{function} = {module}:{function}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    return function
