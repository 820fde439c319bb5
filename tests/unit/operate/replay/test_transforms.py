"""Transforms of a plan: a plan may be untrusted, so its code is verified before it is imported."""

from __future__ import annotations

import sys

import pytest

from streams.core.errors import RefusedBySafety, UsageError
from streams.operate.dlq.dead_letter import Original
from streams.operate.replay.plan.plan import Terms, Transform
from streams.operate.replay.plan.repair import Repair
from streams.operate.replay.plan.transforms import loaded, transform_of
from tests.unit.operate.replay.plugin import install

FIXES = "def keep(record):\n    return record\n"
MARKS = "import pathlib, sys\npathlib.Path(sys.argv[-1]).touch()\n"


@pytest.fixture
def marked(monkeypatch, tmp_path):
    """The file that a module writes when it is imported."""
    mark = tmp_path / "imported"
    monkeypatch.setattr(sys, "argv", [*sys.argv, str(mark)])
    return mark


def test_a_transform_is_an_entry_point_of_an_installed_distribution(monkeypatch, tmp_path):
    """The administrator who installs the distribution chooses the name."""
    planned = transform_of(install(monkeypatch, tmp_path, "fixes", "keep", FIXES))
    assert loaded(planned)("a record") == "a record"
    assert Repair(Terms(transform=planned)).changes


@pytest.mark.parametrize("name", ["fixes:keep", "os:system", "fixes", "json:loads"])
def test_a_plan_cannot_name_a_module(monkeypatch, tmp_path, marked, name):
    """Neither a module of the working folder nor one of the standard library."""
    (tmp_path / "fixes.py").write_text(MARKS + FIXES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"dia\.transforms"):
        loaded(Transform(name=name, sha256="0"))
    assert not marked.exists()


def test_a_changed_file_is_refused_before_it_is_imported(monkeypatch, tmp_path, marked):
    """The digest is compared before the import: exit code 5, and no code has run."""
    planned = transform_of(install(monkeypatch, tmp_path, "fixes", "keep", FIXES))
    install(monkeypatch, tmp_path, "fixes", "keep", MARKS + FIXES)
    with pytest.raises(RefusedBySafety, match="changed after the plan was made"):
        loaded(planned)
    assert not marked.exists()


def test_a_shadowing_module_is_refused_before_it_is_imported(monkeypatch, tmp_path, marked):
    """`python -m streams` searches the working folder first."""
    planned = transform_of(install(monkeypatch, tmp_path / "site", "fixes", "keep", FIXES))
    (tmp_path / "fixes.py").write_text(MARKS + FIXES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fixes")
    with pytest.raises(RefusedBySafety):
        loaded(planned)
    assert not marked.exists()


def test_the_digest_of_a_module_in_a_package_imports_no_package(monkeypatch, tmp_path, marked):
    """`find_spec` of the standard library imports the parent packages."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").write_text(MARKS)
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dia.transforms]\nkeep = acme.fixes:keep\n")
    (tmp_path / "acme" / "fixes.py").write_text(FIXES)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RefusedBySafety):
        loaded(Transform(name="keep", sha256="0"))
    assert not marked.exists()


def test_an_entry_point_without_its_module_is_named(monkeypatch, tmp_path):
    """An incomplete uninstallation leaves such an entry."""
    name = install(monkeypatch, tmp_path, "fixes", "keep", FIXES)
    (tmp_path / "fixes.py").unlink()
    with pytest.raises(UsageError, match="has no file that can be read"):
        transform_of(name)
    install(monkeypatch, tmp_path, "fixes", "keep", "keep = 1\n")
    with pytest.raises(UsageError, match="is no function"):
        transform_of(name)
    install(monkeypatch, tmp_path, "fixes", "keep", "of_another_name = 1\n")
    with pytest.raises(UsageError, match="keep cannot be loaded: "):
        transform_of(name)


@pytest.mark.parametrize(
    ("value", "key"),
    [(b'{"tenant_id": "acme"}', b"acme"), (b"{", None), (b'{"tenant_id": 1}', None)],
)
def test_a_record_is_keyed_by_its_tenant(value, key):
    """This repairs records refused as `key_mismatch`, which have another key."""
    record = Original(b"other", value, (), 0)
    mended = loaded(transform_of("tenant-as-key"))(record)
    assert (mended.key if mended else None) == key
