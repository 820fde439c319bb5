"""Documents name only things that exist: linked files, commands and make targets."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import streams.cli
from streams.cli.invocation import Invocation

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "ops" / "README.md",
]
WARNINGS = ("a Kafka principal with Read on a changelog", "installed plug-ins")
"""Points of SECURITY.md that promise nothing."""
PACKAGES = ("schemas", "streams", "tables", "agents")

LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(dia(?: [a-z]+)+)")
TARGET = re.compile(r"^(?:\$ )?make ([a-z]+)")


def _name(document):
    return str(document.relative_to(ROOT))


def _code(text: str) -> list[str]:
    """Lines of fenced blocks, and inline code."""
    fenced = [line for block in FENCE.findall(text) for line in block.splitlines()]
    return fenced + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def _is_command(words: list[str], group: Any) -> bool:
    """Whether ``words`` lead through the groups to a command; further words are its arguments."""
    for word in words:
        if not hasattr(group, "commands"):
            return True
        if word not in group.commands:
            return False
        group = group.commands[word]
    return True


@cache
def _anchors(document):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_have_a_target():
    """Links lead to existing files and headings."""
    missing = []
    for document in DOCUMENTS:
        for link in LINK.findall(document.read_text()):
            path, _, anchor = link.partition("#")
            target = (document.parent / path) if path else document
            if "://" in link:
                continue
            found = target.exists() and (not anchor or anchor in _anchors(target))
            missing += [] if found else [(_name(document), link)]
    assert missing == []


def test_each_promise_of_security_names_its_tests():
    """A promise that no test holds is a wish; `test_links_have_a_target` finds a test that is gone."""
    text = (ROOT / "SECURITY.md").read_text().partition("## Who is trusted with what")[2]
    table, _, points = text.partition("## What to know when running it")
    said = [row for row in table.splitlines() if row.startswith("| ")][1:]
    said += [" ".join(point.split()) for point in points.split("\n- ")[1:]]
    assert len(said) > 20
    without = [one for one in said if "](tests/" not in one]
    assert [one for one in without if not one.lstrip("| ").startswith(WARNINGS)] == []
    assert len(without) == len(WARNINGS)


def test_commands_and_targets_exist():
    """Readers run the commands of a document."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = []
    for document in DOCUMENTS:
        for line in _code(document.read_text()):
            if found := COMMAND.match(line):
                words = found.group(1).split()[1:]
                missing += (
                    []
                    if _is_command(words, streams.cli.command())
                    else [(document, found.group(1))]
                )
            if found := TARGET.match(line):
                missing += [] if found.group(1) in targets else [(document, found.group())]
    assert missing == []


WHOLE = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(dia .+)")


FIRST_STEPS = (ROOT / "README.md", ROOT / "docs" / "first_agent.md", ROOT / "docs" / "repair.md")


def _fenced(text: str) -> list[str]:
    """Lines of fenced blocks; a line that ends in a backslash goes on."""
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
    return [line.strip() for block in blocks for line in block.splitlines()]


COMMANDS = [
    found[1]
    for page in FIRST_STEPS
    for line in _fenced(page.read_text())
    if (found := WHOLE.match(line))
]


def test_commands_of_the_first_steps_parse():
    """A newcomer copies them: an option that is gone ends the first ten minutes."""
    for command in COMMANDS:
        _parse(command)


def _parse(command):
    words = shlex.split(command, comments=True)
    ends = [words.index(sign) for sign in (">", "|", "&", "&&") if sign in words]
    words = words[1 : min(ends, default=len(words))]
    group = streams.cli.command()
    context = group.make_context("dia", words, obj=Invocation())
    while hasattr(group, "commands"):
        rest = [*context._protected_args, *context.args]
        name, group, rest = group.resolve_command(context, rest)
        context = group.make_context(name, rest, parent=context)


def test_the_readme_has_commands():
    """Without any, the test above would try none of its."""
    assert len(COMMANDS) > 40


def test_pages_that_the_code_names_exist():
    """A docstring that refers to a page must name an existing one."""
    missing = {
        f"{path.relative_to(ROOT)}: {page}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for page in re.findall(r"\b(?:docs|ops)/[\w/]+\.md", path.read_text())
        if not (ROOT / page).exists()
    }
    assert missing == set()


def test_messages_name_commands_that_exist():
    """An error ends with the next command, which must exist."""
    missing = {
        f"{path.relative_to(ROOT)}: {words}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for words in re.findall(r"`(dia(?: [a-z]+)+)", path.read_text())
        if not _is_command(words.split()[1:], streams.cli.command())
    }
    assert missing == set()
