"""A release is the same bytes for whoever builds its commit, and a changed file does not pass its check."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

_spec = importlib.util.spec_from_file_location(
    "dia_release", ROOT / "ops" / "supply_chain" / "release.py"
)
release = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(release)


pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a release is of a commit")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """All files of a release of HEAD."""
    folder = tmp_path_factory.mktemp("dist")
    commit = _git("rev-parse", "HEAD")
    return commit, release.write(commit, folder)


def _git(*words):
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_wheel_holds_what_is_committed_and_nothing_else(released):
    """A forgotten file of the builder's folder would be published."""
    _, (wheel, *_) = released
    committed = set(_git("ls-tree", "-r", "--name-only", "HEAD").splitlines())
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if not name.endswith("/")]
    held = {name for name in names if ".dist-info/" not in name}
    assert held <= committed
    assert {
        name for name in committed if name.startswith("streams/") and name.endswith(".py")
    } <= held


def test_a_wheel_does_not_depend_on_times_and_modes_of_its_files(released, tmp_path):
    """Another umask or another clock must give the same bytes."""
    commit, (wheel, *_) = released
    source = tmp_path / "source"
    source.mkdir()
    release.export(commit, source)
    for number, file in enumerate(path for path in source.rglob("*") if path.is_file()):
        file.chmod(0o600)
        subprocess.os.utime(file, (number, number))
    assert release.wheel(source, tmp_path).read_bytes() == wheel.read_bytes()


def test_the_statement_names_the_commit_and_each_file(released):
    """A reader rebuilds from it."""
    commit, (wheel, *bills, provenance, _) = released
    said = json.loads(provenance.read_text())
    assert {one["name"]: one["digest"]["sha256"] for one in said["subject"]} == {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in (wheel, *bills)
    }
    (source, *_) = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": commit}


def test_sums_and_signature_find_a_changed_file(released, tmp_path):
    """The commands of SECURITY.md, with the real tools."""
    _, files = released
    for file in files:
        shutil.copy(file, tmp_path)
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0
    if shutil.which("ssh-keygen"):
        _signed(tmp_path)
    wheel = tmp_path / files[0].name
    wheel.write_bytes(wheel.read_bytes() + b"x")
    failed = subprocess.run(check, cwd=tmp_path, capture_output=True, check=False)
    assert failed.returncode == 1


def _signed(folder):
    def run(*words, given=None):
        with (folder / "SHA256SUMS").open("rb") as sums:
            done = subprocess.run(
                ["ssh-keygen", *words],
                cwd=folder,
                stdin=sums if given else None,
                capture_output=True,
                check=False,
            )
        return done.returncode

    assert run("-q", "-t", "ed25519", "-N", "", "-f", "key") == 0
    assert run("-Y", "sign", "-q", "-f", "key", "-n", "dia-release", "SHA256SUMS") == 0
    signers = "release@example.org " + (folder / "key.pub").read_text()
    (folder / "signers").write_text(signers)
    verify = ["-Y", "verify", "-f", "signers", "-I", "release@example.org", "-n", "dia-release"]
    assert run(*verify, "-s", "SHA256SUMS.sig", given=True) == 0
    text = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(text.replace("a", "b"))
    assert run(*verify, "-s", "SHA256SUMS.sig", given=True) != 0
    (folder / "SHA256SUMS").write_text(text)
