"""Kafka's class cache: when it is used; a start without it works."""

from __future__ import annotations

import os

import pytest

from streams.core.process.file_lock import exclusive
from streams.dev.local import class_cache, class_training


@pytest.fixture
def java(tmp_path):
    """A Java that ends at once, with its release file."""
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    (tmp_path / "java" / "release").write_text('JAVA_VERSION="25"')
    java.symlink_to("/bin/false")
    return java


@pytest.fixture
def class_path(tmp_path):
    """Two jars in a separate folder."""
    folder = tmp_path / "jars"
    folder.mkdir()
    jars = [folder / "a.jar", folder / "b.jar"]
    for jar in jars:
        jar.write_bytes(b"jar")
    return os.pathsep.join(map(str, jars))


def test_a_cache_is_used_once_it_is_there(java, class_path):
    """The first start must not name a cache that does not exist yet."""
    assert class_cache.flags(java, class_path) == ()
    cache = class_cache.path_of(java, class_path)
    cache.touch()
    assert class_cache.flags(java, class_path) == (f"-XX:AOTCache={cache}",)


def test_other_jars_or_another_java_have_another_cache(java, class_path):
    """The JVM would refuse another cache silently, and starts would stay slow."""
    names = {class_cache.path_of(java, class_path)}
    jar = class_path.partition(os.pathsep)[0]
    os.utime(jar, (1, 1))
    names.add(class_cache.path_of(java, class_path))
    (java.parent.parent / "release").write_text('JAVA_VERSION="26"')
    names.add(class_cache.path_of(java, class_path))
    assert len(names) == 3


def test_without_jars_there_is_no_cache_and_no_error(java, tmp_path):
    """The start of the broker reports what is wrong with its jars."""
    assert class_cache.flags(java, str(tmp_path / "absent.jar")) == ()


def test_a_failed_training_is_logged_and_has_no_other_effect(java, class_path):
    """A broker also starts without a cache."""
    told: list[str] = []
    class_training.ensure(java, class_path, told.append)
    assert "starts slower without" in told[-1]
    folder = class_cache.path_of(java, class_path).parent
    assert sorted(path.name for path in folder.iterdir()) == ["a.jar", "b.jar", "classes.lock"]


def test_a_stack_does_not_wait_for_anothers_training(java, class_path):
    """If two stacks start together, one trains the cache and the other starts without it."""
    told: list[str] = []
    lock = class_cache.path_of(java, class_path).parent / "classes.lock"
    with exclusive(lock, 0, lambda: None):
        class_training.ensure(java, class_path, told.append)
    assert told == []
