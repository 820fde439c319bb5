"""Frames ``length:u32 kind:u8 body`` on the two pipes between a pool and its process.

A process sends `READY` once it has imported its code, and `ANSWER`, `MEMORY` or `RAISED` (with a
message) for each `JOB`.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct(">IB")
FRAME_MAX_BYTES: Final = 64 << 20

READY: Final = 0
JOB: Final = 1
ANSWER: Final = 2
MEMORY: Final = 3
RAISED: Final = 4


def frame(kind: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), kind) + body
