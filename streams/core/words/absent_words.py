"""Methods of Faust's streams that dia lacks, and their alternatives.

An agent's body that names one on its own stream is refused at import. Reached indirectly, it raises
when called and stops the partition (runtime/partition/agent_run.py): it fails for every event."""

from __future__ import annotations

import dis
from collections.abc import Callable, Mapping
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

_LOADS_NAME: Final = ("LOAD_FAST", "LOAD_DEREF")
_LOADS_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def absent(word: str) -> UnsupportedByDia:
    return UnsupportedByDia(STREAM_WORDS[word])


def check_body(agent: str, body: Callable[..., Any]) -> None:
    """Raises `UnsupportedByDia` for a body that names one of `STREAM_WORDS` on its first argument.
    Reads the bytecode (`dis`), since the source may be absent."""
    code = getattr(body, "__code__", None)
    if code is None or not code.co_varnames:
        return
    stream, loaded = code.co_varnames[0], None
    for step in dis.get_instructions(code):
        if step.opname in _LOADS_ATTRIBUTE and loaded == stream and step.argval in STREAM_WORDS:
            raise UnsupportedByDia(f"agent {agent}: {STREAM_WORDS[step.argval]}")
        # LOAD_FAST_LOAD_FAST loads two names; the last one is on top.
        named = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        loaded = named if step.opname.startswith(_LOADS_NAME) else None
