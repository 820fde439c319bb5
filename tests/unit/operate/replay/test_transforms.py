"""A plan may come from a stranger: what it names is code, and is not run before it is known."""

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
    """Where a module leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    monkeypatch.setattr(sys, "argv", [*sys.argv, str(mark)])
    return mark


def test_a_transform_is_an_entry_point_of_an_installed_distribution(monkeypatch, tmp_path):
    """Named by who installed it, not by who wrote a plan."""
    planned = transform_of(install(monkeypatch, tmp_path, "fixes", "keep", FIXES))
    assert loaded(planned)("a record") == "a record"
    assert Repair(Terms(transform=planned)).changes


@pytest.mark.parametrize("name", ["fixes:keep", "os:system", "fixes", "json:loads"])
def test_no_module_is_named_by_a_plan(monkeypatch, tmp_path, marked, name):
    """Neither one of the folder the command runs in, nor one of Python's own."""
    (tmp_path / "fixes.py").write_text(MARKS + FIXES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"dia\.transforms"):
        loaded(Transform(name=name, sha256="0"))
    assert not marked.exists()


def test_another_file_is_refused_before_it_is_imported(monkeypatch, tmp_path, marked):
    """The digest once was compared afterwards: refused with exit code 5, and the code had run."""
    planned = transform_of(install(monkeypatch, tmp_path, "fixes", "keep", FIXES))
    install(monkeypatch, tmp_path, "fixes", "keep", MARKS + FIXES)
    with pytest.raises(RefusedBySafety, match="changed after the plan was made"):
        loaded(planned)
    assert not marked.exists()


def test_a_module_in_the_way_is_refused_before_it_is_imported(monkeypatch, tmp_path, marked):
    """`python -m streams` looks into the working folder first."""
    planned = transform_of(install(monkeypatch, tmp_path / "site", "fixes", "keep", FIXES))
    (tmp_path / "fixes.py").write_text(MARKS + FIXES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fixes")
    with pytest.raises(RefusedBySafety):
        loaded(planned)
    assert not marked.exists()


def test_the_digest_of_a_module_in_a_package_imports_no_package(monkeypatch, tmp_path, marked):
    """`find_spec` of the standard library imports what lies above."""
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
    """As after half an uninstallation."""
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
    """What a producer keyed by something else is refused as `key_mismatch`: this brings it back."""
    record = Original(b"other", value, (), 0)
    mended = loaded(transform_of("tenant-as-key"))(record)
    assert (mended.key if mended else None) == key
