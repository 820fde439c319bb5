"""Machine checks of `dia doctor`: interpreter, packages, disk, port."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from streams.cli.doctor.finding import DoctorFinding, FindingLevel
from streams.core import kernels
from streams.core.settings import Settings
from streams.engine.app.loading import built_in_present

DISTRIBUTION = "dia-streams"
PACKAGES = ("schemas", "streams", "tables", "agents")
"""of a checkout; the published wheel has `streams` alone"""
PYTHON_MIN = (3, 11)


def foreign_owners(names: tuple[str, ...] = PACKAGES) -> set[tuple[str, str]]:
    """(distribution, package) for each other installed distribution that ships one of ``names``.

    Such names exist on the public index, and a second install overwrites the first silently."""
    return {
        (found.name, file.parts[0])
        for found in metadata.distributions()
        if found.name != DISTRIBUTION
        for file in found.files or ()
        if file.parts[0] in names
    }


def examine(settings: Settings) -> list[DoctorFinding]:
    """Uses no network."""
    return [
        _python(),
        _package_names(),
        _local_extra(),
        _kernels(settings),
        _disk(settings.home_path()),
        _health_port(settings),
    ]


def _python() -> DoctorFinding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return DoctorFinding(
            "python", FindingLevel.FAILURE, version, "install Python 3.11 or newer"
        )
    return DoctorFinding("python", FindingLevel.OK, f"{version}, {sys.executable}")


def _kernels(settings: Settings) -> DoctorFinding:
    why = kernels.load(settings.kernels)
    if not why:
        return DoctorFinding("kernels", FindingLevel.OK, "compiled kernels read and fold")
    detail = f"numpy alone reads and folds, at about twice the cost: {why}"
    level = FindingLevel.OK if settings.kernels == "off" else FindingLevel.WARNING
    return DoctorFinding(
        "kernels", level, detail, "make setup, or pip install 'dia-streams[compiled]'"
    )


def _package_names() -> DoctorFinding:
    ours = PACKAGES if built_in_present() else ("streams",)
    owners = sorted(foreign_owners(ours))
    if owners:
        named = ", ".join(f"{package} of {distribution}" for distribution, package in owners)
        return DoctorFinding(
            "package names",
            FindingLevel.FAILURE,
            f"taken by other packages: {named}",
            "use an environment of its own: make setup",
        )
    return DoctorFinding("package names", FindingLevel.OK, f"ours: {', '.join(ours)}")


def _local_extra() -> DoctorFinding:
    from streams.core.errors import DependencyUnreachable
    from streams.dev.local.wheels import REQUIRED, locate

    try:
        locate()
    except DependencyUnreachable as error:
        return DoctorFinding("local stack", FindingLevel.WARNING, str(error), "make setup")
    return DoctorFinding("local stack", FindingLevel.OK, ", ".join(REQUIRED) + " installed")


def _disk(home: Path) -> DoctorFinding:
    from streams.dev.local.disk import FREE_MIN_BYTES, free_bytes

    existing = next(path for path in (home, *home.parents) if path.exists())
    left = free_bytes(existing)
    detail = f"{left / (1 << 30):.1f} GiB free for {home}"
    if left < FREE_MIN_BYTES:
        return DoctorFinding(
            "disk", FindingLevel.FAILURE, detail, "free some space, or name another --home"
        )
    return DoctorFinding("disk", FindingLevel.OK, detail)


def _health_port(settings: Settings) -> DoctorFinding:
    from streams.dev.local.ports import is_free

    port = settings.http_port
    if port == 0:
        return DoctorFinding("health port", FindingLevel.OK, "each worker takes a free one")
    if is_free(port):
        return DoctorFinding("health port", FindingLevel.OK, f"{port} is free")
    return DoctorFinding(
        "health port",
        FindingLevel.WARNING,
        f"{port} is in use, by a running worker or by another program",
        "dia status; or set DIA_HTTP_PORT to a free port, or to 0 to take any",
    )
