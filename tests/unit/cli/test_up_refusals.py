"""What `dia up` refuses before it starts anything."""

from __future__ import annotations

from streams.cli import main


def test_an_app_that_cannot_be_imported_starts_no_service(tmp_path, capsys):
    """Else three services run, without topics, beside the message that the app is absent."""
    assert main(["--home", str(tmp_path), "--app", "absent_module:app", "up"]) == 2
    assert "absent_module" in capsys.readouterr().err
    assert not (tmp_path / "stack").exists()
