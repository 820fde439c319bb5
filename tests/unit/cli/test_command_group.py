"""Help pages: complete, grouped by task, each with a valid example."""

from __future__ import annotations

import re
import shlex

import pytest

import streams.cli
from streams.cli import main
from streams.cli.invocation import Invocation


def _pages(group, path=("dia",)):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _pages(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


ROOT = streams.cli.command()
PAGES = dict(_pages(ROOT))
EXAMPLE = re.compile(r"^Example: (.+)", re.MULTILINE | re.DOTALL)


def _groups(group, path=()):
    yield path
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _groups(command, (*path, name))


@pytest.mark.parametrize("path", [*_groups(ROOT)], ids=" ".join)
def test_no_summary_is_truncated(capsys, path):
    """No summary may end in "..." on a terminal of 80 columns."""
    assert main([*path, "--help"]) == 0
    commands = capsys.readouterr().out.split("--help")[-1]
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


def test_each_command_of_the_root_is_under_one_heading():
    """A command without a heading is not listed."""
    listed = [name for names in ROOT.tasks.values() for name in names]
    assert sorted(listed) == sorted(ROOT.commands)


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_each_page_has_an_example_that_parses(path):
    """Users copy examples."""
    examples = EXAMPLE.findall(PAGES[path].help or "")
    assert examples, "its docstring must end with `Example: dia ...`"
    for example in examples:
        words = shlex.split(" ".join(example.split()).split(" Example: ")[0])
        words = words[: words.index("&&")] if "&&" in words else words
        words = words[: words.index(">")] if ">" in words else words
        context, command = ROOT.make_context("dia", words[1:], obj=Invocation()), ROOT
        reached = ["dia"]
        while hasattr(command, "commands"):
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)
            reached.append(name)
            context = command.make_context(name, rest, parent=context)
        assert tuple(reached) == path


@pytest.mark.parametrize(
    ("words", "position", "found"),
    [("dia sh", 1, "shed"), ("dia shed p", 2, "plan"), ("dia shed plan --o", 3, "--older-than")],
)
def test_a_shell_completes_commands_and_options(monkeypatch, capsys, words, position, found):
    """Users cannot remember forty commands."""
    monkeypatch.setenv("_DIA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(position))
    assert main([]) == 0
    assert found in capsys.readouterr().out.split()


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_every_option_says_what_it_does(path):
    """A name such as --late was explained nowhere."""
    bare = [
        one.opts[0]
        for one in PAGES[path].params
        if one.param_type_name == "option" and not one.help
    ]
    assert bare == []
