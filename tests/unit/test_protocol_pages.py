"""Protocol pages: each is linked, has the expected parts, and has the steps of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_links_its_code_and_its_tests(page):
    """A page links the modules of the protocol and its tests."""
    text = page.read_text()
    assert re.search(r"\]\(\.\./\.\./streams/\S+\)", text)
    assert re.search(r"\]\(\.\./\.\./tests/\S+\)", text)


@pytest.mark.parametrize(
    ("module", "steps"), _steps_of_the_code().items(), ids=lambda it: str(it)[:60]
)
def test_a_page_has_the_steps_that_a_module_defines(module, steps):
    """A step that is added to the code only would make the page wrong."""
    having = [
        page.name for page in PAGES if all(f"**{step}**" in page.read_text() for step in steps)
    ]
    assert having, f"no page has all of {steps} of {module}"


def test_the_steps_of_the_code_are_found():
    """A pattern without a match would pass all other tests."""
    found = _steps_of_the_code()
    assert {"A1", "A5"} <= set(found["streams/engine/runtime/assignment.py"])
    assert len(found) > 15
