"""The folder of state for a user without a home directory, such as the uid of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.core.errors import UsageError
from streams.core.settings import default_home, load


def _homeless(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)


def test_an_error_without_a_home_names_the_option(monkeypatch):
    """The error must be a sentence, not "unexpected RuntimeError" of `dia up`."""
    _homeless(monkeypatch)
    with pytest.raises(UsageError, match=r"HOME is not set.*--home.*DIA_HOME"):
        default_home()


def test_a_named_home_needs_no_other(monkeypatch, tmp_path):
    """`--home X` is all that such a user can give, so it must be enough."""
    _homeless(monkeypatch)
    settings, _ = load({"DIA_HOME": str(tmp_path)})
    assert settings.home_path() == tmp_path


def test_the_folder_of_state_of_the_desktop_comes_first(monkeypatch, tmp_path):
    """XDG_STATE_HOME needs no home directory."""
    _homeless(monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_home() == tmp_path / "dia"
