"""Error codes and what dia does about each: `dia explain` and the reference of errors show them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from streams.connect.access import refusals
from streams.connect.oidc import refused
from streams.core import command_errors, errors, job_refusals
from streams.core.errors import DiaError, Disposition
from streams.core.records import bad_records

DECLARED_IN = tuple(
    one.__name__ for one in (errors, bad_records, job_refusals, refusals, refused, command_errors)
)
"""The modules of every public error."""

ACTIONS = {
    Disposition.DEAD_LETTER: "The record becomes a dead letter; the partition goes on.",
    Disposition.RETRY: "The same is tried again, with growing pauses.",
    Disposition.PAUSE: "What needs it waits; all else goes on.",
    Disposition.ANSWER: "The requester gets it as the answer.",
    Disposition.RESTART_PARTITION: "The partition is opened again from its last commit.",
    Disposition.STOP_PARTITION: "The partition stops until an operator decides; the others go on.",
    Disposition.STOP_WORKER: "The worker ends.",
    Disposition.END_COMMAND: "The command ends with this exit code.",
    Disposition.SKIP: "One piece of work is left out, and counted.",
}

_NEXT = {
    Disposition.DEAD_LETTER: "`dia dlq list --error {code}` shows the records, `dia replay plan --error {code}` "
    "prepares their return.",
    Disposition.RETRY: "`dia doctor` checks each address; `dia status` shows the partitions that wait.",
    Disposition.PAUSE: "`dia doctor` checks each address; `dia status` shows the partitions that wait.",
    Disposition.ANSWER: "The message of the answer names the field or the limit.",
    Disposition.RESTART_PARTITION: "Nothing to do, unless `dia status` counts restarts of one partition on and on.",
    Disposition.STOP_PARTITION: "`dia status` names the partition and the reason; ops/runbooks/DiaPartitionStopped.md "
    "has the way out of each.",
    Disposition.STOP_WORKER: "The worker's last log line names the setting; `dia config show --explain` prints all.",
    Disposition.END_COMMAND: "The command's message names the next step.",
    Disposition.SKIP: "The log names what was left out.",
}


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """``what``: paragraphs of text. ``exit_code``: of a command that ends with this error."""

    code: str
    disposition: Disposition
    exit_code: int
    what: str

    @property
    def summary(self) -> str:
        """The first paragraph, in one line."""
        return " ".join(self.what.partition("\n\n")[0].split())

    @property
    def action(self) -> str:
        """What dia does."""
        return ACTIONS[self.disposition]

    @property
    def next_step(self) -> str:
        """What an operator does."""
        return _NEXT[self.disposition].format(code=self.code)


def error_codes() -> list[ErrorCode]:
    """Every code, in the order of the dispositions."""
    found = [
        ErrorCode(error.code, error.disposition, error.exit_code, _text(error))
        for error in _below(DiaError)
        if "code" in vars(error)
    ]
    order = list(ACTIONS)
    return sorted(found, key=lambda each: (order.index(each.disposition), each.code))


def _below(error: type[DiaError]) -> Iterator[type[DiaError]]:
    """Of dia, not of an app."""
    for child in error.__subclasses__():
        if child.__module__ in DECLARED_IN:
            yield child
            yield from _below(child)


def _text(error: type[DiaError]) -> str:
    """The docstring; the name where that says it all."""
    text = vars(error).get("__doc__")
    if text:
        return inspect.cleandoc(text)
    return re.sub(r"(?<!^)(?=[A-Z])", " ", error.__name__).capitalize() + "."
