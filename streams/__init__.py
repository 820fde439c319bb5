"""The public face of dia: what a pipeline of your own is written with.

    from streams import App, Record

    app = App("acme")

Every name in ``__all__`` is documented where it is defined and stays; other modules are the
engine's own. A name is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streams.agent import AgentSpec, Change, EventBatch, Scope
    from streams.app import App
    from streams.formats.codec import Codec
    from streams.job_agent import Answer, Ask, JobAgent, Outcome, Performer, Place, Resources
    from streams.record import Record
    from streams.topic import Need, Topic
    from streams.types import OutboundRecord, TopicPartition

__all__ = [
    "AgentSpec",
    "Answer",
    "App",
    "Ask",
    "Change",
    "Codec",
    "EventBatch",
    "JobAgent",
    "Need",
    "OutboundRecord",
    "Outcome",
    "Performer",
    "Place",
    "Record",
    "Resources",
    "Scope",
    "Topic",
    "TopicPartition",
]

_MODULES: Final = {
    **dict.fromkeys(("AgentSpec", "Change", "EventBatch", "Scope"), "streams.agent"),
    **dict.fromkeys(
        ("Answer", "Ask", "JobAgent", "Outcome", "Performer", "Place", "Resources"),
        "streams.job_agent",
    ),
    **dict.fromkeys(("Need", "Topic"), "streams.topic"),
    **dict.fromkeys(("OutboundRecord", "TopicPartition"), "streams.types"),
    "App": "streams.app",
    "Codec": "streams.formats.codec",
    "Record": "streams.record",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
