"""Help pages: complete, grouped by task, each with a valid example."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

import streams.cli
from streams.cli import main
from streams.cli.invocation import Invocation
from streams.cli.terminal.output_form import OutputForm


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


def test_each_module_registers_the_commands_of_the_table():
    """`dia NAME` builds the group of that name only: without its name a command would be built with all others, or
    not be found."""
    for module, names in streams.cli.GROUPS.items():
        alone = typer.main.get_command(streams.cli.build([module]))
        assert tuple(alone.commands) == names, module


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "--json status",
        "--home a up",
        "-o json --app=a:b status",
        "-A a:b -q down",
        "--home=a up",
    ],
)
def test_a_process_builds_the_group_of_its_command_only(words):
    """To import and build all groups takes a quarter of a second of each start."""
    assert [*streams.cli.command_of(words.split()).commands] == ["up", "down", "status"]


@pytest.mark.parametrize(
    "words", ["", "--help", "absent", "--version", "--home", "-h status", "-- status"]
)
def test_arguments_without_a_command_get_all_groups(words):
    """Their help, their errors and the names that they may mean."""
    assert streams.cli.command_of(words.split()) is ROOT


def test_each_command_of_the_root_is_under_one_heading():
    """A command without a heading is not listed."""
    listed = [name for names in ROOT.tasks.values() for name in names]
    assert sorted(listed) == sorted(ROOT.commands)


def test_each_page_has_an_example_that_parses():
    """Users copy examples."""
    for path in PAGES:
        examples = list(_examples(path))
        assert examples, f"the docstring of {path} must end with `Example: dia ...`"
        for words in examples:
            assert _reached(words, Invocation()) == path


def _examples(path):
    """The words of each, up to a pipe or the next command."""
    for example in EXAMPLE.findall(PAGES[path].help or ""):
        words = shlex.split(" ".join(example.split()).split(" Example: ")[0])
        ends = [words.index(sign) for sign in ("&&", ">", "|") if sign in words]
        yield words[: min(ends, default=len(words))]


def _reached(words, run):
    """The path of the command that parses ``words``."""
    context, command = ROOT.make_context("dia", words[1:], obj=run), ROOT
    reached = ["dia"]
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        reached.append(name)
        context = command.make_context(name, rest, parent=context)
    return tuple(reached)


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


def test_every_option_says_what_it_does():
    """A name such as --late was explained nowhere."""
    bare = [
        (*path, one.opts[0])
        for path, page in PAGES.items()
        for one in page.params
        if one.param_type_name == "option" and not one.help
    ]
    assert bare == []


STATES = frozenset({"list", "status", "stats", "moves", "describe", "doctor", "predict", "series"})
FIXED = {("dia", "context", "list"), ("dia", "schemas", "list")}
"""They read declarations and files of this machine, which change by the user's own commands."""


def test_each_command_takes_every_form_of_output():
    """`-o csv` of one command and not of the next is looked up each time."""
    for path in PAGES:
        words = [one for one in next(_examples(path)) if one not in ("--json", "-o", "wide")]
        at = words.index(path[-1]) + 1 if path[-1] in words else 2  # > dia query SQL
        for form in OutputForm:
            run = Invocation()
            assert _reached([*words[:at], "-o", form, *words[at:]], run) == path
            assert run.form is form


def test_each_command_that_shows_a_state_can_be_watched():
    """An operator waits for a state beside another terminal."""
    for path, page in PAGES.items():
        spelt = {spelling for param in page.params for spelling in param.opts}
        shows = (path[-1] in STATES and path not in FIXED) or path[-1] == "sql"
        assert ("--watch" in spelt) == shows, path
