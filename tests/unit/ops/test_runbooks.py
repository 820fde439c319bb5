"""Every alert has a runbook, and every command in a runbook exists in this version."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

import streams.cli
from streams.cli.invocation import Invocation

FOLDER = Path(__file__).parents[3] / "ops"
RUNBOOKS = sorted((FOLDER / "runbooks").glob("*.md"))
DOCUMENTS = [*RUNBOOKS, *sorted(FOLDER.glob("*.md"))]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
UsageError = typer.BadParameter.__base__
"""Of the click that typer brings along."""
OTHERS = {"kubectl", "helm", "docker", "make", "docker/pin_images.sh", "docker/secrets.sh"}
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def _commands(text):
    """Command lines of fenced shell blocks; a backslash continues a line."""
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if line.strip() and not line.startswith("#")]


def _parse(words):
    """Parse ``words`` like the real command, without running it. Raises UsageError."""
    command = streams.cli.command()
    context = command.make_context("dia", list(words[1:]), obj=Invocation())
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def test_every_alert_has_its_runbook(rules):
    """Each alert's page exists, and no page is left of a removed alert."""
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert {path.stem for path in RUNBOOKS} == alerts


def test_a_runbook_has_its_sections():
    """Operators look for the same heading in the same place."""
    for path in RUNBOOKS:
        text = path.read_text()
        assert text.startswith(f"# {path.stem}\n"), path
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS, path


def test_links_have_a_target():
    """A moved page must not break links."""
    links = [
        (path, link)
        for path in DOCUMENTS
        for link in LINK.findall(path.read_text())
        if "://" not in link
    ]
    assert [(path, link) for path, link in links if not (path.parent / link).exists()] == []


def test_commands_parse():
    """A command that does not exist costs minutes during an incident."""
    for line in [line for path in DOCUMENTS for line in _commands(path.read_text())]:
        words = shlex.split(line)
        if words[0] == "dia":
            _parse(words)
        else:
            assert words[0] in OTHERS, line


@pytest.mark.parametrize(
    "line",
    ["dia tables rest", "dia tables reset --topic model.metrics", "dia dlq list --sinc 1h"],
)
def test_a_wrong_command_is_detected(line):
    """The parser must refuse an unknown command, a missing option, and a misspelt one."""
    with pytest.raises(UsageError):
        _parse(shlex.split(line))
