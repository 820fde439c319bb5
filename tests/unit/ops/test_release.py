"""A release is the same bytes in every build of its commit, and a changed file does not pass its check."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
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
    assert {name.partition("/")[0] for name in names} == {"streams", "dia_streams-0.1.0.dist-info"}
    local = ("streams/dev/local/", "streams/dev/simulation/world.py")
    assert {
        name
        for name in committed
        if name.startswith(("streams/", *local)) and not name.startswith("streams/dev/")
    } <= held
    assert {name for name in committed if name.startswith(local)} <= held
    left_out = ("bench", "demo", "regions", "workload", "simulation/faults")
    assert not any(name.startswith(f"streams/dev/{one}/") for name in names for one in left_out)


WITHOUT_THE_APP = """
import importlib, sys
import streams, streams.testing.app_tester, streams.testing.pytest_plugin
from streams.cli import GROUPS, command, run
for name in GROUPS:
    importlib.import_module(f"streams.cli.{name}")
print(streams.__version__, streams.__file__)
print(run(command(), ["worker"]), run(command(), ["demo"]), run(command(), ["init", "acme"]))
"""


def test_the_wheel_works_without_the_built_in_app(released, tmp_path):
    """In an environment where `agents` is another project's package, or none."""
    _, (wheel, *_) = released
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
        assert "Private" not in packed.read("dia_streams-0.1.0.dist-info/METADATA").decode()
    installed = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT_THE_APP],  # no .pth file leads to the checkout
        env={"PATH": "", "PYTHONPATH": f"{tmp_path / 'site'}:{installed}", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    first, *_, last = done.stdout.splitlines() or [""]
    assert first == f"0.1.0 {tmp_path}/site/streams/__init__.py", done.stderr
    assert last == "2 2 0", done.stderr
    assert "no app is named, and this installation holds none" in done.stderr
    assert "streams.dev.demo is not part of" in done.stderr
    assert (tmp_path / "acme" / "acme" / "app.py").is_file()


def test_a_wheel_does_not_depend_on_times_and_modes_of_its_files(released, tmp_path):
    """Another umask or another clock must give the same bytes."""
    commit, (wheel, *_) = released
    source = tmp_path / "source"
    source.mkdir()
    release.export(commit, source)
    release.framework(source)
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
