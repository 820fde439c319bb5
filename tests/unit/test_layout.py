"""Rules of the repository: package names, size budgets, clean files."""

from __future__ import annotations

import ast
import re
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from agents.app import app as built_in
from streams.cli.doctor.machine import PACKAGES, foreign_owners

ROOT = Path(__file__).parents[2]
FOLDERS = {*PACKAGES, "tests", "docker", "docs", "ops"}

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70


def _sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def _text(path: Path) -> str:
    return path.read_text()


def _committed() -> Iterator[Path]:
    """Files of the repository, found by walking, since a downloaded copy has no git. In a git
    worktree ``.git`` is a file with a path of the machine.
    """
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")
    for folder in (*FOLDERS, ".ci", ".github"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


@pytest.mark.parametrize("name", PACKAGES)
def test_package_names_import_the_packages_of_dia(name):
    """`tables`, `agents` and `schemas` exist on the public index too: installed beside dia, they
    would run under its package names, and pip does not warn.
    """
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


def test_no_other_distribution_has_the_package_names_of_dia():
    """The second installation of a name overwrites the first silently."""
    assert foreign_owners() == set()


def test_an_owner_of_a_package_name_is_detected():
    """The check must be able to fail: pytest owns its own name."""
    assert ("pytest", "pytest") in foreign_owners(("pytest",))


@pytest.mark.parametrize("folder", ["tests", "docker", "docs", "ops"])
def test_folders_without_a_package_have_no_init_file(folder):
    """With an __init__.py, `docker` would hide the Docker SDK in the repository's root."""
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_the_top_level_holds_the_agreed_folders_only():
    """A reader finds every part in one of seven places."""
    visible = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__pycache__"
    }
    assert visible - {"build", "dist"} <= FOLDERS


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package):
    """Without the marker a type checker ignores all annotations."""
    assert (ROOT / package / "py.typed").is_file()


def test_modules_stay_within_their_budget():
    """One file holds one idea; a longer one is split."""
    over = []
    for path in _sources(*PACKAGES, "tests"):
        count = len(_text(path).splitlines())
        if count > MODULE_LINES_MAX:
            over.append(f"{path.relative_to(ROOT)}: {count} lines")
    assert over == []


Nodes = list[ast.AST]
"""of one source, the module first"""


def _parsed(source: str) -> Nodes:
    return [*ast.walk(ast.parse(source))]


def _long_functions(nodes: Nodes) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{node.lineno} {node.name}: {length}"


def test_functions_stay_within_their_budget():
    """A function should fit on a screen."""
    over = [
        f"{path.relative_to(ROOT)}:{one}"
        for path in _sources(*PACKAGES, "tests")
        for one in _facts(path).long_functions
    ]
    assert over == []


MODULE_NAMED = re.compile(r"(?<![\w/.-])((?:[a-z_]+/)+[a-z_]+\.py)\b")
OF_A_NEW_PROJECT = "tests/test_app.py"


def test_modules_that_comments_name_exist():
    """Docstrings must not name the old path of a moved module."""
    paths = [path.relative_to(ROOT).parts for path in _sources(*FOLDERS)]
    ends = {"/".join(parts[at:]) for parts in paths for at in range(len(parts))}
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _sources(*PACKAGES)
        for name in MODULE_NAMED.findall(_text(path))
        if name not in ends and name != OF_A_NEW_PROJECT
    ]
    assert missing == []


LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT_NAME = re.compile(r"[a-z]+(_[a-z0-9]+)*")


def _log_events(nodes: Nodes) -> Iterator[ast.expr]:
    """The first argument of every method call on an object called log or logger."""
    for node in nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=method
                ),
                args=[event, *_],
            ) if owner.strip("_") in {"log", "logger"} and method in LOG_METHODS:
                yield event


def _is_event_name(event: ast.expr) -> bool:
    """A literal in snake_case, or a variable that chooses between such literals."""
    if isinstance(event, ast.Constant):
        return EVENT_NAME.fullmatch(str(event.value)) is not None
    return isinstance(event, ast.Name)


def test_log_events_are_constant_names():
    """Events are searched, counted and alerted on by name, so a name has no values in it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in _sources(*PACKAGES)
        for line in _facts(path).unnamed_events
    ]
    assert wrong == []


def test_a_sentence_as_an_event_is_detected():
    """The check must find such an event."""
    nodes = _parsed("self._log.info(f'lost {n}')\nlog.error('It broke')\nlog.info('row_lost')")
    assert [_is_event_name(event) for event in _log_events(nodes)] == [False, False, True]


# Split, so that this file does not match its own pattern.
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:work|root|tmp/w)/")
REGISTRY = re.compile(
    r"(?:https?://|//|@)[\w.-]*(?:py[p]i|python[h]osted|npm[j]s|maven\.(?:org|apache)|"
    r"proxy\.go[l]ang|crates\.[i]o)"
)


def test_committed_files_name_no_machine_and_no_registry():
    """A clone must work in any folder and with any package index."""
    found = []
    for path in _committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for pattern in (MACHINE_PATH, REGISTRY)
            for match in pattern.finditer(text)
        ]
    assert found == []


def test_the_lock_pins_every_package_by_hash_and_names_no_index():
    """The lock must install the same bytes from any index, and only those."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if line.startswith("--") or "://" in line]
    pins = [number for number, line in enumerate(lines) if re.match(r"[a-z0-9]", line)]
    assert len(pins) > 50
    for number in pins:
        assert "==" in lines[number]
        assert "--hash=sha256:" in lines[number + 1]


def test_the_lock_holds_every_declared_dependency():
    """A dependency added without `make lock` would be missing on every other machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["local"],
        *project["dependency-groups"]["dev"],
    ]
    pinned = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    names = {re.sub(r"[._]", "-", re.match(r"[\w.-]+", text).group().lower()) for text in declared}
    assert names - pinned == set()


TOOLS_OF_THE_BUILT_IN_APP = ("dev",)
"""Rooms of `streams` that make, play and measure events of the built-in app."""
NAMES_THE_BUILT_IN_APP = {
    "streams/engine/app/loading.py": "its module is what a command means that names no app",
}
"""Modules of the engine that know a type of the built-in app, or its name, and why."""


def _engine() -> Iterator[Path]:
    for path in _sources("streams", "tables"):
        name = path.relative_to(ROOT)
        if name.parts[1] not in TOOLS_OF_THE_BUILT_IN_APP and str(name) not in (
            NAMES_THE_BUILT_IN_APP
        ):
            yield path


def _imported(nodes: Nodes) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _texts(nodes: Nodes) -> Iterator[str]:
    """String constants except docstrings, whose examples may name anything."""
    prose = {
        id(node.value)
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def _of_the_built_in_app(nodes: Nodes) -> list[str]:
    """Imports and names of the built-in app's parts."""
    found = [name for name in _imported(nodes) if name.split(".")[0] in ("agents", "schemas")]
    names = {*built_in.topics, *built_in.agents, *(t.schema for t in built_in.topics.values())}
    return found + [text for text in _texts(nodes) if any(name in text for name in names)]


def test_the_engine_names_nothing_of_the_built_in_app():
    """The engine must treat the built-in app like any user's app."""
    found = {str(path.relative_to(ROOT)): _facts(path).of_the_built_in_app for path in _engine()}
    assert {name: names for name, names in found.items() if names} == {}


OF_THE_APP = {"agents", "schemas", "tables"}


def test_the_framework_imports_nothing_of_the_app():
    """Else `streams` could not be installed without the app, whose names others have on the index."""
    found = [
        f"{name}: {imported}"
        for path in _sources("streams")
        if (name := path.relative_to(ROOT)).parts[1] not in TOOLS_OF_THE_BUILT_IN_APP
        for imported in _facts(path).imported
        if imported.split(".")[0] in OF_THE_APP
    ]
    assert found == []


def test_the_built_in_app_is_declared_with_the_public_face():
    """What it needs, a user's app may need too."""
    imported = _facts(ROOT / "agents" / "app.py").imported
    assert {name for name in imported if name.split(".")[0] == "streams"} == {"streams"}


KNOW_MINUTE_WINDOWS = {
    "engine_tables": "builds it",
    "shed_consequences": "says what m1 will lack",
    "audit": "recounts m1",
    "rebuild": "finds the agent that has m1",
    "refold": "folds m1 again",
    "running_move": "asks the partitions that place by maps",
    "standing": "says which rows of m1 their owner will send",
    "snapshot_reader": "reads m1",
    "series_agent": "folds into it",
    "minute_state": "finds an event in it, for a trace",
}
"""Modules that know the one table which hands rows to shards of its own accord, and why."""
_MINUTES = r"minute_windows import|MINUTE_WINDOWS|MinuteWindows"


def test_a_partition_knows_no_table_by_its_name():
    """Fold, commit and handover use a table by its interface, as for tables of users."""
    found = {
        path.stem
        for path in _engine()
        if path.stem != "minute_windows" and re.search(_MINUTES, _text(path))
    }
    assert found == set(KNOW_MINUTE_WINDOWS)


@pytest.mark.parametrize("name", NAMES_THE_BUILT_IN_APP)
def test_every_exception_is_still_needed(name):
    """An unused exception would hide the next module that breaks the rule."""
    path = ROOT / name
    assert _facts(path).of_the_built_in_app or "agents.app" in _text(path)


@pytest.mark.parametrize(
    "source", ["from agents.app import app", "import schemas.metric", "x = f'{a} of model.metrics'"]
)
def test_a_name_of_the_built_in_app_is_detected(source):
    """In an import, and in a concatenated text."""
    assert _of_the_built_in_app(_parsed(source)) != []


def _public_classes(nodes: Nodes) -> Iterator[str]:
    module = nodes[0]
    assert isinstance(module, ast.Module)
    yield from (
        node.name
        for node in module.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )


def test_no_two_public_classes_have_one_name():
    """A search for a name must find one class."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in _sources(*PACKAGES):
        for name in _facts(path).public_classes:
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


class Facts(NamedTuple):
    """Of one source."""

    long_functions: list[str]
    unnamed_events: list[int]
    """lines"""
    imported: list[str]
    of_the_built_in_app: list[str]
    public_classes: list[str]


@cache
def _facts(path: Path) -> Facts:
    """Each source is parsed once for all rules, because to parse all of them takes seconds."""
    nodes = _parsed(_text(path))
    functions = [*_long_functions(nodes)]
    if path.is_relative_to(ROOT / "tests"):  # no other rule is about them
        return Facts(functions, [], [], [], [])
    return Facts(
        functions,
        [event.lineno for event in _log_events(nodes) if not _is_event_name(event)],
        [*_imported(nodes)],
        _of_the_built_in_app(nodes),
        [*_public_classes(nodes)],
    )


ROOMS_WITHOUT_AN_OUTBOX = (
    "streams/http",
    "streams/operate",
    "streams/cli",
    "streams/connect/access",
    "streams/connect/cache",
    "streams/connect/coordination",
    "streams/connect/policy",
    "streams/connect/schema_registry",
)
"""Only beside the outbox (docs/protocols/outbox.md) is an owed effect a term."""
OWED = re.compile(r"\bowe[sd]?\b", re.IGNORECASE)
RIDDLES = re.compile(
    r"\b(nobody|somebody|everybody|anybody|whoever|whom|believes?|believed|hears?|heard|news|"
    r"breathes?|(is|are) (meant|told)|told of|(tell|know)s (it|of|what|whether)|"
    r"again and again|stands? still|(?<!dead )(?<!dead-)letters? (is|are|was|were))\b",
    re.IGNORECASE,
)
"""Words for people that docstrings used for parts of a program, and words that hide a term."""
_QUOTED = re.compile(r"`[^`]*`")


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments with their line, without quoted names."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text), lineno=line)):
                yield line, _QUOTED.sub("", text)
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _QUOTED.sub("", token.string)


def _matches(words: re.Pattern[str], *folders: str) -> list[str]:
    """Matches of ``words`` in the docstrings and comments of ``folders``."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {match.group()}"
        for path in _sources(*folders)
        if words.search(source := _text(path))  # to parse is much slower than to search
        for line, text in _prose(source)
        for match in words.finditer(text)
    ]


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_docstrings_name_the_actor(package):
    """The reader of a sentence about `nobody` or `whoever` has to guess the actor."""
    assert _matches(RIDDLES, package) == []


@pytest.mark.parametrize("room", ROOMS_WITHOUT_AN_OUTBOX)
def test_only_the_outbox_owes(room):
    """Outside of commits "owe" means some duty, which has a plainer name."""
    assert _matches(OWED, room) == []


@pytest.mark.parametrize(
    "source", ['"""Whoever holds it."""', "x = 1  # nobody reads it", '"""It stands still."""']
)
def test_the_word_list_finds_its_words(source):
    """In docstrings and in comments."""
    assert [match for _, text in _prose(source) for match in RIDDLES.finditer(text)]
