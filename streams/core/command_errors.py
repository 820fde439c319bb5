"""Errors that end a command, each of one action of an operator."""

from __future__ import annotations

from streams.core.errors import CommandError, DependencyUnreachable, RefusedBySafety


class AddressUnavailable(DependencyUnreachable):
    """The address to listen on is in use, or not of this machine."""

    code = "address_unavailable"


class NotFoundThere(CommandError):
    """Not in the offsets that were searched, which the message names."""

    code = "not_found"
    exit_code = 6


class HistoryTooShort(CommandError):
    """The load history holds too few hours for what is asked; the message says how many it needs."""

    code = "history_too_short"
    exit_code = 6


class AnotherPlan(RefusedBySafety):
    """``plan`` holds a partition of the topic, which one plan at a time may replay. The message
    names the plan and its actor."""

    def __init__(self, plan: str, why: str) -> None:
        super().__init__(why)
        self.plan = plan


class SpoolCorrupt(RefusedBySafety):
    """Acknowledged events in the spool cannot be read."""

    code = "spool_corrupt"


class RebuildRefused(RefusedBySafety):
    """The log does not say for certain what the rows of the range were: the message names where."""

    code = "rebuild_refused"


class MoveRefused(RefusedBySafety):
    """Stored rows of these days cannot move now: the message says why."""

    code = "move_refused"


class MoveDiffers(CommandError):
    """Copies differ from their originals, which still count."""

    code = "move_differs"
    exit_code = 3


class BackupFailed(CommandError):
    """A ClickHouse server did not finish a backup or a restore, or its rows differ."""

    code = "backup_failed"


class ThresholdsFailed(CommandError):
    """A load test missed a threshold of its file; the report names which."""

    code = "thresholds_failed"


class RegionSuperseded(RefusedBySafety):
    """Another change of the active region came first."""

    code = "region_superseded"


class RegionBehind(CommandError):
    """A region does not have, or has not folded, all that it must before it becomes active. Unless the
    message says that nothing was changed, no region is active until the command is run again."""

    code = "region_behind"
    exit_code = 3
