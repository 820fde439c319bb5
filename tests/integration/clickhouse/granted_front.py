"""``granted_front.py USERS.xml ...``: the front of one shard, whose engine has the users of a file.

The engine runs every statement as its user ``default``, so the file gives that user the grants and
the profile under test. The front's own settings are omitted: a profile may forbid them, and no
server has them.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from chdb.session import Session

from streams.dev.local.clickhouse_front import (
    __main__,
    confinement,
    engine_config,
    server,
    settings,
)

MADE_BEFORE = "CREATE DATABASE IF NOT EXISTS "
_write, _query = engine_config.write, Session.query


def _with_users(path: Path, memory_bytes: int, backups: Path | None = None) -> Path:
    file = _write(path, memory_bytes, backups)
    tree = ET.parse(file)
    ET.SubElement(tree.getroot(), "users_config").text = users
    tree.write(file)
    return file


def _as_granted(self: Session, sql: str, *args: Any, **options: Any) -> Any:
    """The engine creates its database at each start; for a user without that right it must exist."""
    return None if sql.startswith(MADE_BEFORE) else _query(self, sql, *args, **options)


if __name__ == "__main__":
    users = sys.argv.pop(1)
    engine_config.write = _with_users
    Session.query = _as_granted
    server._SETTINGS.clear()
    # The grants and profiles must refuse, not the front.
    confinement.check = lambda tokens: None
    settings.check_setting = lambda name, value: None
    sys.exit(__main__.main())
