"""The code of the guide for Faust users runs, since they copy it."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "from_faust.md"


def test_the_code_of_the_guide_runs(app_tester):
    """Both blocks in their order: the app and its test."""
    names = {"__name__": "guide"}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    names["test_track"](app_tester)
