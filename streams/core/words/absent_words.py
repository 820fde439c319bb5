"""Methods of Faust's streams and agents that dia lacks, and their alternatives.

An agent's body that names one on its own stream, or on an agent, is refused at import. Reached
indirectly, it raises when called and stops the partition (runtime/partition/agent_run.py): it fails
for every event."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, Final

from streams.core.errors import UnsupportedByDia

STREAM_WORDS: Final[Mapping[str, str]] = {
    "noack_take": "stream.noack_take() is not there: use stream.take(n, within).",
    "join": (
        "stream.join() is not there: send both topics to a third one with the same key, and "
        "keep the newest of each in a table of its agent."
    ),
    "combine": ("stream.combine() is not there: send both topics to a third one, and read that."),
    "through": "stream.through() is not there: send to the topic, and declare an agent on it.",
    "echo": "stream.echo() is not there: use `sink=` of the agent.",
}

AGENT_WORDS: Final = frozenset({"ask", "ask_nowait", "map", "join", "kvmap", "kvjoin"})

_LOADS_NAME: Final = ("LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL")
_LOADS_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def absent(word: str) -> UnsupportedByDia:
    return UnsupportedByDia(STREAM_WORDS[word])


def absent_of_agent(agent: str, word: str) -> UnsupportedByDia:
    return UnsupportedByDia(
        f"agent {agent}: {word}() waits for an answer of another process, which no "
        "transaction can hold. Send with agent.cast(), and answer with an event of "
        "another topic."
    )


def check_body(agent: str, body: Callable[..., Any]) -> None:
    """Raises `UnsupportedByDia` for a body that names one of `STREAM_WORDS` on its first
    argument."""
    code = getattr(body, "__code__", None)
    if code is None or not code.co_varnames:
        return
    for name, word in _attributes(code):
        if name == code.co_varnames[0] and word in STREAM_WORDS:
            raise UnsupportedByDia(f"agent {agent}: {STREAM_WORDS[word]}")


def agent_words_of(body: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """Each of `AGENT_WORDS` that a body, or a function in it, names on a global or an enclosed
    variable, after that variable's value now."""
    code = getattr(body, "__code__", None)
    if code is None:
        return
    known = dict(getattr(body, "__globals__", {}))
    for name, cell in zip(code.co_freevars, getattr(body, "__closure__", None) or (), strict=True):
        try:
            known[name] = cell.cell_contents
        except ValueError:
            known.pop(name, None)  # not assigned yet
    for inner in _codes(code):
        own = {*inner.co_varnames, *inner.co_cellvars}
        for name, word in _attributes(inner):
            if word in AGENT_WORDS and name not in own and name in known:
                yield known[name], word


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _attributes(code: CodeType) -> Iterator[tuple[str, str]]:
    """Names and the attributes read of them. From the bytecode (`dis`), since the source may be
    absent."""
    loaded = None
    for step in dis.get_instructions(code):
        if step.opname in _LOADS_ATTRIBUTE and loaded is not None:
            yield loaded, step.argval
        # LOAD_FAST_LOAD_FAST loads two names; the last one is on top.
        named = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        loaded = named if step.opname.startswith(_LOADS_NAME) else None
