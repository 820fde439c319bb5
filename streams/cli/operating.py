"""Which commands change what others depend on, and their lines in the log of operations.

The lines are written around the command, whatever it does: none can be forgotten inside it. A command whose line
cannot be written says so and goes on: an operator repairs a full disk, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import typer

from streams.core.errors import DiaError

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.connect.access.operations_log import OperationsLog

OPERATIONS: Final = frozenset(
    {
        "backup create", "backup prune", "backup restore", "cache invalidate", "dlq breaker reset",
        "dlq discard", "dlq park", "dlq renew", "drill backup", "drill replica", "drill shard",
        "loadtest run",
        "migrate apply", "policy changed", "rebuild", "region failback", "region failover",
        "region init", "replay cancel", "replay pause", "replay resume", "replay run",
        "replay submit", "shards apply", "shards cancel", "shards move", "shards pace",
        "shards pause", "shards resume", "shards withdraw", "shed return", "shed run",
        "shed withdraw", "tables outbox drop", "tables reset", "tables undeclared drop",
        "tables windows drop", "token create", "token revoke", "token rotate", "topics apply",
        "topics grant",
    }
)  # fmt: skip
"""Paths of the commands whose runs are logged."""
TEXT_CHARS_MAX: Final = 500
_NOT_SAID: Final = frozenset({"actor", "yes"})


def log_operations(root: Any, path: tuple[str, ...] = ()) -> Any:
    """Let each command of `OPERATIONS` below ``root`` write its lines."""
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            log_operations(command, (*path, name))
        elif (words := " ".join((*path, name))) in OPERATIONS:
            _wrap(command, words)
    return root


def _wrap(command: Any, path: str) -> None:
    invoke = command.invoke

    def logged(ctx: Any) -> Any:
        with _logged(ctx, path):
            return invoke(ctx)

    command.invoke = logged


@contextmanager
def _logged(ctx: Any, path: str) -> Iterator[None]:
    from streams.cli.invocation import invocation
    from streams.cli.terminal.operator import actor_of

    run = invocation(ctx)
    log = _log_of(run)
    said = {
        "operation": _new_id(),
        "by": "command",
        "name": actor_of(ctx.params.get("actor")),
        "user": actor_of(None),
        "action": path,
        "subject": _subject(ctx.params),
    }
    _write(run, log, said, "begun")
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except DiaError as error:
        outcome = error.code
        raise
    except typer.Exit as end:
        outcome = f"exit_{end.exit_code}" if end.exit_code else "done"
        raise
    except (KeyboardInterrupt, typer.Abort):
        outcome = "interrupted"
        raise
    finally:
        _write(run, log, said, outcome)


def _log_of(run: Invocation) -> OperationsLog | None:
    """None for settings that cannot be read: the command says so itself."""
    from streams.connect.access.operations_log import OperationsLog
    from streams.core.clock import SystemClock

    try:
        return OperationsLog.of(run.settings.home_path(), SystemClock())
    except DiaError:
        return None


def _write(
    run: Invocation, log: OperationsLog | None, said: Mapping[str, Any], outcome: str
) -> None:
    if log is None:
        return
    try:
        log.write(said, outcome)
    except OSError as error:
        run.printer().warn(f"not in the log of operations ({outcome}): {error}")


def _new_id() -> str:
    import secrets

    return secrets.token_hex(8)


def _subject(params: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without options that were not given."""
    return {
        name: _plain(value)
        for name, value in params.items()
        if name not in _NOT_SAID and value not in (None, False, "", (), [])
    }


def _plain(value: Any) -> Any:
    from streams.core.masking import masked

    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return masked(str(value))[:TEXT_CHARS_MAX]
