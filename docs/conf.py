"""The documentation site: ``make docs`` builds it from the pages of the repository."""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "dia"
author = "the authors of dia"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "dia"
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/protocols/*.md",
    "docs/reference/*.md",
    "ops/README.md",
    "ops/runbooks/*.md",
    "tests/bench/*.md",
]
myst_heading_anchors = 4
# Links to folders and source files are checked by tests/unit/test_documents.py.
suppress_warnings = ["myst.xref_missing"]


def setup(app: Sphinx) -> None:
    """Diagrams are shown as text: rendering them needs a script from another host."""
    app.add_lexer("mermaid", TextLexer)
