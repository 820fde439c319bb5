"""`dia init`: its output runs unchanged, and no file is overwritten."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.cli import main
from streams.cli.init import write_project
from streams.core.errors import RefusedBySafety, UsageError


def test_a_new_project_passes_its_own_test(tmp_path, monkeypatch):
    """A user runs the test first."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "acme"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path / "acme", capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_app_is_the_default_of_commands(tmp_path, monkeypatch, capsys):
    """By its pyproject.toml, without an option."""
    write_project("acme", tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    assert main(["schemas", "list"]) == 0
    assert "acme.orders" in capsys.readouterr().out


def test_a_folder_with_files_is_left_alone(tmp_path):
    """A second `dia init` must not overwrite the user's changes."""
    (tmp_path / "mine.py").write_text("x = 1")
    with pytest.raises(RefusedBySafety, match="nothing was written"):
        write_project("acme", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("name", ["", "Acme", "9", "a-b", "streams", "a" * 41, "../x"])
def test_a_name_that_hides_a_package_is_refused(name, tmp_path):
    """A package `streams` would hide the engine."""
    with pytest.raises(UsageError, match="cannot be called"):
        write_project(name, tmp_path / "p")
