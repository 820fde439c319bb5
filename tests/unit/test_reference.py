"""The reference pages equal the output of `python docs/reference.py`."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from streams.core.errors import BadRecord, UsageError

SCRIPT = Path(__file__).parents[2] / "docs" / "reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = spec_from_file_location("reference", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(reference):
    return reference.pages()


def test_each_page_equals_the_generated_one(reference, pages):
    """A renamed setting, code, metric or command must be renamed in its page."""
    written = {path.name: path.read_text() for path in reference.FOLDER.glob("*.md")}
    assert written == pages


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("settings.md", "`DIA_KAFKA_BOOTSTRAP`"),
        ("errors.md", f"| `{UsageError.code}` | {UsageError.exit_code} |"),
        ("errors.md", "`key_mismatch`"),
        ("metrics.md", "`dia_records_read_total`"),
        ("commands.md", "## dia topics rights"),
        ("commands.md", "`--accept-dedupe-gap`"),
    ],
)
def test_each_page_has_its_contents(pages, page, text):
    """An empty page would equal an empty file."""
    assert text in pages[page]


def test_every_code_of_a_dead_letter_is_listed(pages):
    """Operators look up the code of a dead letter; an app's own codes are not dia's to list."""
    shipped = [
        kind for kind in BadRecord.__subclasses__() if kind.__module__.startswith("streams.")
    ]
    codes = {error.code for error in shipped}
    assert len(codes) > 20
    assert [code for code in codes if f"`{code}`" not in pages["errors.md"]] == []
