"""The code of the guide of windows runs and is typed, since users copy it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "windows.md"
APP, TEST = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_code_of_the_guide_runs(app_tester, tmp_path, monkeypatch):
    """The app as a separate module, where field types are resolved, and then its test."""
    (tmp_path / "windows_guide.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    import windows_guide

    names = vars(windows_guide)
    exec(compile(TEST, str(GUIDE), "exec"), names)
    names["test_sales"](app_tester)
    del sys.modules["windows_guide"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        ("", "", True),
        ("window.start_ms", "window.begin", False),
    ],
    ids=["right", "wrong"],
)
def test_the_app_of_the_guide_is_type_checked(type_check, old, new, fits):
    """In strict mode, as a user's package."""
    assert type_check(APP.replace(old, new)) == fits


def test_the_windows_of_the_readme_fit_its_app(tmp_path, monkeypatch):
    """Both blocks in one file, as a reader combines them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "readme_app.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    import readme_app

    assert "refunds-windows" in readme_app.app.agents
    assert "refunds_per_minute" in readme_app.app.clickhouse_tables
    del sys.modules["readme_app"]
