"""Words of Faust's streams that dia does not have, and what to use instead.

An agent's body that names one of them on its own stream is refused when the app is imported. A word that
is reached otherwise, by a function that the body calls, raises when it is called, and stops the partition
(runtime/partition/agent_run.py): it is wrong for every event, so no event of it is a dead letter.
"""

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
    """The error of a stream's ``word``."""
    return UnsupportedByDia(STREAM_WORDS[word])


def check_body(agent: str, body: Callable[..., Any]) -> None:
    """Raises `UnsupportedByDia` for a body whose code names one of `STREAM_WORDS` on its first argument.

    Of words the code alone is asked (`dis`): a source file need not be there.
    """
    code = getattr(body, "__code__", None)
    if code is None or not code.co_varnames:
        return
    stream, loaded = code.co_varnames[0], None
    for step in dis.get_instructions(code):
        if step.opname in _LOADS_ATTRIBUTE and loaded == stream and step.argval in STREAM_WORDS:
            raise UnsupportedByDia(f"agent {agent}: {STREAM_WORDS[step.argval]}")
        # One instruction may load two names (LOAD_FAST_LOAD_FAST): the last one is on top.
        named = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        loaded = named if step.opname.startswith(_LOADS_NAME) else None
