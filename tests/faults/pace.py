"""The settings of every worker in a fault trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS: Mapping[str, Any] = {
    "commit_interval_s": 0.3,
    "commit_timeout_s": 5,
    "session_timeout_s": 6,
    "drain_timeout_s": 10,
    "idle_close_s": 2,
    "late_hold_s": 2,
    "emit_interval_s": 0.5,
    "rollup_interval_s": 2,
    "sink_timeout_s": 5,
}
"""Short times: the session timeout is a broker's minimum, the others follow from it."""
