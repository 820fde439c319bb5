"""Protocol pages: each is linked, has the expected parts, and has the steps of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "protocols").glob("*.md"))
STEP = re.compile(r"^ {0,4}(?:\d\. )?(?:\*\*)?([A-Z][1-9])(?:  |\*\* )\S", re.MULTILINE)
"""A step as docstrings of modules define it: its name, and what happens."""
OTHERS = {
    "streams/connect/access/connections.py",
    "streams/connect/coordination/__init__.py",
    "streams/engine/identities/id_run_builder.py",
}
"""Their steps are of one module: no page has them, and other protocols use the same names."""


@cache
def _steps_of_the_code() -> dict[str, list[str]]:
    """Modules whose docstring defines steps, and the steps."""
    found = {}
    for path in sorted((ROOT / "streams").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        doc = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
        if name not in OTHERS and (steps := STEP.findall(doc)):
            found[name] = steps
    return found


def test_architecture_lists_every_page():
    """Readers would not find a page that no table lists."""
    linked = set(
        re.findall(r"\]\((docs/protocols/\w+\.md)\)", (ROOT / "ARCHITECTURE.md").read_text())
    )
    assert linked == {f"docs/protocols/{page.name}" for page in PAGES}


def test_the_site_lists_every_page():
    """Beside the table, readers use the site's navigation."""
    listed = re.findall(
        r"^protocols/(\w+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == [page.stem for page in PAGES]


def test_a_page_links_its_code_and_its_tests():
    """A page links the modules of the protocol and its tests."""
    for page in PAGES:
        text = page.read_text()
        assert re.search(r"\]\(\.\./\.\./streams/\S+\)", text), page
        assert re.search(r"\]\(\.\./\.\./tests/\S+\)", text), page


def test_a_page_has_the_steps_that_a_module_defines():
    """A step that is added to the code only would make the page wrong."""
    texts = [page.read_text() for page in PAGES]
    without = {
        module: steps
        for module, steps in _steps_of_the_code().items()
        if not any(all(f"**{step}**" in text for step in steps) for text in texts)
    }
    assert without == {}


def test_the_steps_of_the_code_are_found():
    """A pattern without a match would pass all other tests."""
    found = _steps_of_the_code()
    assert {"A1", "A5"} <= set(found["streams/engine/runtime/assignment.py"])
    assert len(found) > 15
