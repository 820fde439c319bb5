"""Runs a module's tests against one mutant after another, each in a forked child.

Tests are collected once. A first child runs them on the unchanged module with tracing: it records
which test reaches which line, and how long it takes. A change inside a function is put into the
loaded module of a forked child, which runs the tests that reach its line, the shortest first, until
one fails. A change outside of functions acts at import, so its child is forked before any module of
ours is imported. Each way is tried once without a change: tests that fail then would kill every
mutant.

mutmut (BSD, maintained) is no replacement: since version 3 it changes function bodies only, and no
method of a dataclass, so it would omit most numbers here. cosmic-ray (MIT) starts a process for
each mutant, which costs several seconds of imports.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hypothesis
import pytest

from tests.mutation.mutants import Mutant, mutated

Verdict = Literal["killed", "survived", "timeout", "unreached"]

OUTPUT = Path("build/mutation_output.txt").absolute()
"""Pytest's output about the measured module."""
_ARGUMENTS = ["-q", "-x", "--no-header", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
_PLUGINS = (
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "_hypothesis_pytestplugin",
    "no:cacheprovider",
)
_MARKS = "not stack and not browser and not faults and not index and not long"
_EXAMPLES = 40
_TALK = os.dup(2)  # pytest captures the standard ones
_SPARE_S = 15.0
_SLOWER = 4.0


class TestsFail(Exception):  # noqa: N818 - a finding about the tests
    """The tests of a module fail without any change."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the tests of {path} fail without any change, see {OUTPUT}")


@dataclass
class Baseline:
    """The tests' results on the unchanged module. ``reached``: line -> names of tests."""

    passed: bool = False
    took_s: dict[str, float] = field(default_factory=dict)
    reached: dict[int, list[str]] = field(default_factory=dict)


def judge(path: Path, tests: list[str], found: list[Mutant]) -> dict[int, Verdict]:
    """The verdict on each mutant, by its number. Raises `TestsFail`."""
    source = path.read_text()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_bytes(b"")
    answer = _forked(lambda: _collected(path, source, tests, found), limit_s=None)
    if not answer or not answer["passed"]:
        raise TestsFail(path)
    verdicts: dict[int, Verdict] = {int(n): v for n, v in answer["verdicts"].items()}
    limit_s = _SPARE_S + _SLOWER * sum(answer["took_s"].values())
    rest = [mutant for mutant in found if mutant.number not in verdicts]
    for mutant in (None, *rest) if rest else ():
        done = _forked(lambda mutant=mutant: _imported(path, source, mutant, tests), limit_s)
        if mutant is None:
            if _verdict(done) != "survived":
                raise TestsFail(path)
            continue
        verdicts[mutant.number] = _verdict(done)
        tell(f"{verdicts[mutant.number]:9} {mutant.name}")
    return verdicts


def _collected(path: Path, source: str, tests: list[str], found: list[Mutant]) -> dict[str, Any]:
    loop = _Loop(path, source, found)
    pytest.main(_arguments(tests), plugins=[_Quick(), loop])
    return {
        "passed": loop.baseline.passed,
        "took_s": loop.baseline.took_s,
        "verdicts": loop.verdicts,
    }


def _imported(path: Path, source: str, mutant: Mutant | None, tests: list[str]) -> dict[str, Any]:
    """Only for a process that has not imported the module."""
    code = compile(mutated(source, mutant), str(path), "exec")
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: Any, fullname: str) -> types.CodeType | None:
        return code if Path(loader.path) == path else original(loader, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    failed = pytest.main(_arguments(tests), plugins=[_Quick()]) != pytest.ExitCode.OK
    return {"verdict": "killed" if failed else "survived"}


def _arguments(tests: list[str]) -> list[str]:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [word for name in _PLUGINS for word in ("-p", name)]
    return [*_ARGUMENTS, *plugins, "-m", _MARKS, *tests]


class _Quick:
    """A failing example is not shrunk: its failure suffices."""

    def pytest_configure(self) -> None:
        hypothesis.settings.register_profile(
            "mutation",
            deadline=None,
            derandomize=True,
            database=None,
            max_examples=_EXAMPLES,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")


class _Loop:
    def __init__(self, path: Path, source: str, found: list[Mutant]) -> None:
        self._path = str(path)
        self._source = source
        self._found = found
        self.baseline = Baseline()
        self.verdicts: dict[int, Verdict] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed or not session.items:
            return True
        answer = _forked(lambda: self._measured(session.items), limit_s=None)
        if not answer:
            return True
        self.baseline = Baseline(
            answer["passed"],
            answer["took_s"],
            {int(line): names for line, names in answer["reached"].items()},
        )
        if self.baseline.passed:
            self._judge_all(session.items)
        return True

    def _control(self, functions: list[types.FunctionType], items: list[pytest.Item]) -> bool:
        same = self._codes(None, functions)
        return same is not None and _verdict(_forked(lambda: _run(same, items), None)) == "survived"

    def _judge_all(self, items: list[pytest.Item]) -> None:
        by_name = {item.nodeid: item for item in items}
        took_s = self.baseline.took_s
        gc.unfreeze()  # after the collection of tests (tests/conftest.py) nothing else is listed
        functions = [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == self._path
        ]
        if not self._control(functions, items):
            self.baseline.passed = False
            return
        for mutant in self._found:
            if not mutant.in_body:
                continue
            reached = self.baseline.reached
            tests = reached.get(mutant.line) or reached.get(mutant.statement, [])
            names = sorted(tests, key=took_s.__getitem__)
            if not names:
                self.verdicts[mutant.number] = "unreached"
            elif (new := self._codes(mutant, functions)) is not None:
                chosen = [by_name[name] for name in names]
                limit_s = _SPARE_S + _SLOWER * sum(took_s[name] for name in names)
                done = _forked(lambda new=new, chosen=chosen: _run(new, chosen), limit_s=limit_s)
                self.verdicts[mutant.number] = _verdict(done)
            else:
                continue
            tell(f"{self.verdicts[mutant.number]:9} {mutant.name}")

    def _codes(
        self, mutant: Mutant | None, functions: list[types.FunctionType]
    ) -> list[tuple[types.FunctionType, types.CodeType]] | None:
        """The new code of each loaded function; None if it cannot be exchanged in place, or if no
        loaded function holds the change."""
        whole = compile(mutated(self._source, mutant), self._path, "exec")
        codes = {(code.co_qualname, code.co_firstlineno): code for code in _nested(whole)}
        pairs = [
            (function, codes[key])
            for function in functions
            if (key := (function.__code__.co_qualname, function.__code__.co_firstlineno)) in codes
        ]
        same = all(f.__code__.co_freevars == code.co_freevars for f, code in pairs)
        changed = mutant is None or any(f.__code__ != code for f, code in pairs)
        return pairs if same and changed else None

    def _measured(self, items: list[pytest.Item]) -> dict[str, Any]:
        reached: dict[int, set[str]] = {}
        took_s: dict[str, float] = {}
        current = ""

        def local(frame: types.FrameType, event: str, _: object) -> Any:
            reached.setdefault(frame.f_lineno, set()).add(current)
            return local

        def trace(frame: types.FrameType, event: str, _: object) -> Any:
            if frame.f_code.co_filename != self._path:
                return None
            reached.setdefault(frame.f_lineno, set()).add(current)
            return local

        passed = True
        for item in items:
            current = item.nodeid
            sys.settrace(trace)
            threading.settrace(trace)
            began = time.monotonic()
            passed = _passes(item) and passed
            took_s[item.nodeid] = time.monotonic() - began
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        return {
            "passed": passed,
            "took_s": took_s,
            "reached": {line: sorted(names) for line, names in reached.items()},
        }


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _run(
    codes: list[tuple[types.FunctionType, types.CodeType]], items: list[pytest.Item]
) -> dict[str, Any]:
    for function, code in codes:
        function.__code__ = code
    for item in items:
        if not _passes(item):
            return {"verdict": "killed"}
    return {"verdict": "survived"}


def _passes(item: pytest.Item) -> bool:
    session = item.session
    before = session.testsfailed
    session.shouldfail = session.shouldstop = False
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return session.testsfailed == before


def _verdict(done: dict[str, Any] | None) -> Verdict:
    return "timeout" if done is None else done.get("verdict", "killed")


def tell(line: str) -> None:
    """Print a line to standard error, also while pytest captures it."""
    os.write(_TALK, f"{line}\n".encode())


def _forked(work: Callable[[], dict[str, Any]], limit_s: float | None) -> dict[str, Any] | None:
    """The result of ``work`` in a separate child; None if it takes too long, {} if it dies."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work_in_child(work, reading, writing)
    os.close(writing)
    ends_at = None if limit_s is None else time.monotonic() + limit_s
    parts: list[bytes] = []
    try:
        while True:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            if not select.select([reading], [], [], left_s)[0]:
                return None
            part = os.read(reading, 1 << 16)
            if not part:
                break
            parts.append(part)
    finally:
        os.close(reading)
        # Only the process group that this child leads: processes started by its tests end with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return json.loads(b"".join(parts)) if parts else {}


def _work_in_child(work: Callable[[], dict[str, Any]], reading: int, writing: int) -> None:
    os.setpgid(0, 0)
    os.close(reading)
    try:
        sink = os.open(OUTPUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        answer = work()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    except BaseException:  # noqa: BLE001 - whatever a mutant does, the child ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
