"""The broker's jars: only locked bytes are used, and the cache has no partial file."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from streams.core.errors import DependencyUnreachable, UsageError
from streams.dev.local import jars
from streams.dev.local.jar_lock import KAFKA_VERSION, LOCK_FILE, Jar, read_lock
from streams.dev.local.jars import VARIABLES, system_certificates

CONTENT = {f"group:jar-{number}:1.0": f"bytes of {number}".encode() for number in range(8)}
LOCKED = tuple(
    Jar(name, hashlib.sha256(content).hexdigest(), len(content))
    for name, content in CONTENT.items()
)


def _ignore(_: str) -> None:
    """Ignores the progress."""


class Repository:
    """Serves `CONTENT`, records requests, and fails where configured."""

    def __init__(self, *, broken: frozenset[str] = frozenset()) -> None:
        self.asked: list[str] = []
        self.broken = broken

    def fetch(self, jar: Jar, folder):
        self.asked.append(jar.coordinate)
        if jar.coordinate in self.broken:
            raise ConnectionError("the line is cut")
        path = folder / "deep" / "name.jar"
        path.parent.mkdir()
        path.write_bytes(CONTENT[jar.coordinate])
        return path


def _names(folder):
    return {path.name for path in folder.iterdir()} - {"fetch.lock"}


def test_a_first_start_fetches_all_and_a_second_none(tmp_path):
    """The second start must take seconds, and work without a network."""
    repository = Repository()
    jars.ensure(tmp_path, _ignore, LOCKED, repository.fetch)
    assert sorted(repository.asked) == sorted(CONTENT)
    class_path = jars.ensure(tmp_path, _ignore, LOCKED, repository.fetch)
    assert len(repository.asked) == len(CONTENT)
    assert [path.rpartition("/")[2] for path in class_path.split(":")] == [
        jar.file_name for jar in LOCKED
    ]


@pytest.mark.parametrize("damage", [b"", b"bytes of X", b"longer than what was locked"])
def test_a_damaged_jar_is_fetched_again(tmp_path, damage):
    """A full disk may leave wrong files with the right name."""
    repository = Repository()
    jars.ensure(tmp_path, _ignore, LOCKED, repository.fetch)
    (tmp_path / LOCKED[3].file_name).write_bytes(damage)
    jars.ensure(tmp_path, _ignore, LOCKED, repository.fetch)
    assert repository.asked[len(CONTENT) :] == [LOCKED[3].coordinate]
    assert jars.missing(tmp_path, LOCKED) == []


def test_an_interrupted_fetch_leaves_whole_jars_only_and_goes_on(tmp_path):
    """Complete files are kept, partial ones are not, and the next start requests the rest."""
    cut = Repository(broken=frozenset({LOCKED[5].coordinate}))
    with pytest.raises(DependencyUnreachable, match=r"jar-5.*the line is cut.*dia up"):
        jars.ensure(tmp_path, _ignore, LOCKED, cut.fetch)
    arrived = _names(tmp_path)
    whole = {jar.file_name for jar in LOCKED if jar.matches(tmp_path / jar.file_name)}
    assert arrived == whole
    assert LOCKED[5].file_name not in arrived
    repaired = Repository()
    jars.ensure(tmp_path, _ignore, LOCKED, repaired.fetch)
    assert {name for name in CONTENT if name in repaired.asked} == {
        jar.coordinate for jar in LOCKED if jar.file_name not in arrived
    }


def test_files_of_a_killed_fetch_are_removed(tmp_path):
    """kill -9 runs no clean-up; the next fetch removes the rest."""
    left = tmp_path / "arriving-abc" / "jar-0-1.0.jar"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"by")
    jars.ensure(tmp_path, _ignore, LOCKED, Repository().fetch)
    assert _names(tmp_path) == {jar.file_name for jar in LOCKED}


def test_other_bytes_than_locked_are_refused(tmp_path):
    """A mirror that serves other bytes must not get its code run."""
    forged = (Jar(LOCKED[0].coordinate, "0" * 64, LOCKED[0].size_bytes),)
    with pytest.raises(DependencyUnreachable, match=r"jar-0.*sha256"):
        jars.ensure(tmp_path, _ignore, forged, Repository().fetch)
    assert _names(tmp_path) == set()


def test_a_stray_file_is_not_on_the_class_path(tmp_path):
    """Only the lock decides which jars are loaded."""
    (tmp_path / "evil-1.0.jar").write_bytes(b"x")
    assert "evil" not in jars.ensure(tmp_path, _ignore, LOCKED, Repository().fetch)


def test_the_progress_includes_the_total(tmp_path):
    """A first start downloads tens of megabytes, and must not look like a hang."""
    told: list[str] = []
    jars.ensure(tmp_path, told.append, LOCKED, Repository().fetch)
    assert f"{len(LOCKED)} jars" in told[0]
    assert f"{len(LOCKED)} of {len(LOCKED)} jars" in told[-1]


def test_the_committed_lock_is_one_consistent_broker():
    """One version of each artifact, all of Kafka of one version, a log binding, no address."""
    locked = read_lock()
    artifacts = [jar.coordinate.rpartition(":")[0] for jar in locked]
    assert len(artifacts) == len(set(artifacts))
    kafka = [jar.coordinate for jar in locked if jar.coordinate.startswith("org.apache.kafka:")]
    assert {name.rpartition(":")[2] for name in kafka} == {KAFKA_VERSION}
    for needed in ("kafka_2.13", "kafka-tools", "kafka-clients", "log4j-slf4j-impl"):
        assert any(f":{needed}:" in jar.coordinate for jar in locked)
    assert not re.search(r"//|www\.", LOCK_FILE.read_text())


@pytest.mark.parametrize(
    ("variable", "trusted"), [(None, "system"), ("REQUESTS_CA_BUNDLE", "mine")]
)
def test_a_fetch_trusts_the_system_unless_told_otherwise(monkeypatch, tmp_path, variable, trusted):
    """Behind a company's proxy, where pip works, the download must work too."""
    bundle = tmp_path / "system"
    bundle.write_text("")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "mine"))
    before = dict(os.environ)
    with system_certificates((tmp_path / "absent", bundle)):
        assert os.environ["REQUESTS_CA_BUNDLE"] == str(tmp_path / trusted)
    assert dict(os.environ) == before


def test_a_user_without_a_home_gets_the_jars_too(monkeypatch, tmp_path):
    """In a container the user is a bare number, for which the resolver must not fail."""

    def nobody(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    repository = Repository()

    def fetch(jar, folder):
        assert Path.home() == tmp_path
        return repository.fetch(jar, folder)

    jars.ensure(tmp_path, _ignore, LOCKED, fetch)
    assert "HOME" not in os.environ


def test_a_failure_is_reported_by_its_root_cause(tmp_path):
    """The reason is at the bottom of three exceptions, each quoting the address."""

    def fetch(jar, folder):
        raise OSError(RuntimeError(ValueError("the certificate is not trusted")))

    with pytest.raises(DependencyUnreachable, match=r"fetched: the certificate is not trusted\."):
        jars.ensure(tmp_path, _ignore, LOCKED, fetch)


def test_a_cache_that_no_class_path_can_name_is_refused(tmp_path):
    """Java splits a class path at each colon and has no escape."""
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"):
        jars.ensure(tmp_path / "a:b", _ignore, [])
    assert not (tmp_path / "a:b").exists()
