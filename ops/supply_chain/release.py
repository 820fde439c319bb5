"""What is released: `make release` writes dist/ with the framework's wheel, the bills of materials, a
statement of how they were made, and SHA256SUMS, which a maintainer signs.

The wheel holds `streams` without what measures and tests it. `schemas`, `tables` and `agents` are the
built-in app, which a worker's image has; on the package index these names belong to other projects.

The release builds the wheel twice, from two exports of the commit, and compares the bytes. No file holds
the time or a name of the machine, so every build of the commit gives the same files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import sbom

ROOT = Path(__file__).parents[2]
BUILD_TYPE = "urn:dia:framework-wheel-of-uv_build"
PACKAGES = 'module-name = ["schemas", "streams", "tables", "agents"]\n'
NOT_TO_BE_PUBLISHED = '  "Private :: Do Not Upload",\n'
KEPT_OF_DEV = (
    "__init__.py",
    "local",
    "simulation/__init__.py",
    "simulation/loop.py",
    "simulation/world.py",
    "simulation/apps/__init__.py",
    "simulation/apps/app_results.py",
)
"""The local stack, and the virtual machines of `streams.testing`."""
EXIT_DIFFERENT = 1


def export(commit: str, folder: Path) -> None:
    """The committed files, and no other: a file that lies about must not get into a wheel."""
    packed = subprocess.run(
        ["git", "archive", commit],  # noqa: S607 - git of the path
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def framework(source: Path) -> None:
    """Leave in the exported ``source`` what the published wheel is made of."""
    project = source / "pyproject.toml"
    text = project.read_text()
    for old, new in ((PACKAGES, 'module-name = ["streams"]\n'), (NOT_TO_BE_PUBLISHED, "")):
        if text.count(old) != 1:
            raise SystemExit(f"release: pyproject.toml has not one line {old.strip()!r}")
        text = text.replace(old, new)
    project.write_text(text)
    dev = source / "streams" / "dev"
    kept = {dev / name for name in KEPT_OF_DEV}
    for file in [path for path in dev.rglob("*") if path.is_file()]:
        if not kept & {file, *file.parents}:
            file.unlink()
    for folder in sorted((path for path in dev.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of ``source`` into ``folder`` with the backend of this environment."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, uv_build; print(uv_build.build_wheel(sys.argv[1]))",
            str(folder),
        ],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "315532800", "PATH": _path()},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / done.stdout.split()[-1]


def statement(files: list[Path], commit: str, source: Path) -> str:
    """An in-toto statement with a SLSA 1.0 predicate: of which commit, with which tools."""
    locks = ["docker/build.lock", "docker/requirements.lock"]
    made: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": one.name, "digest": {"sha256": digest(one)}} for one in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *(
                        {"name": lock, "digest": {"sha256": digest(source / lock)}}
                        for lock in locks
                    ),
                    {"name": "uv_build", "annotations": {"version": version("uv_build")}},
                ],
            },
            "runDetails": {"builder": {"id": "urn:dia:make-release"}},
        },
    }
    return json.dumps(made, indent=2) + "\n"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write(commit: str, folder: Path) -> list[Path]:
    """All files of a release. Raises `SystemExit` where two builds differ."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        built = []
        for name in ("first", "second"):
            source, out = Path(work) / name, Path(work) / f"{name}-wheel"
            source.mkdir()
            out.mkdir()
            export(commit, source)
            framework(source)
            built.append(wheel(source, out))
        if built[0].read_bytes() != built[1].read_bytes():
            print("release: two builds of one commit differ; nothing is written", file=sys.stderr)
            raise SystemExit(EXIT_DIFFERENT)
        files = [folder / built[0].name]
        files[0].write_bytes(built[0].read_bytes())
        for name, lock in sbom.BILLS.items():
            files.append(folder / f"{name}.cdx.json")
            text = (source / lock.relative_to(ROOT)).read_text()
            files[-1].write_text(sbom.bill(name, text))
        provenance = folder / "provenance.json"
        provenance.write_text(statement(files, commit, source))
    files.append(provenance)
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{digest(one)}  {one.name}\n" for one in files))
    return [*files, sums]


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def main() -> int:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - git of the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for file in write(commit, ROOT / "dist"):
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
