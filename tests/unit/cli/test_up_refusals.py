"""Refusals of `dia up` before it starts a service."""

from __future__ import annotations

from streams.cli import main


def test_an_app_that_cannot_be_imported_starts_no_service(tmp_path, capsys):
    """Otherwise services would run without topics beside the error message."""
    assert main(["--home", str(tmp_path), "--app", "absent_module:app", "up"]) == 2
    assert "absent_module" in capsys.readouterr().err
    assert not (tmp_path / "stack").exists()
