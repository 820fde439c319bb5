"""How a pool and its process talk: frames of ``length:u32 kind:u8 body`` on two pipes.

Job and answer are bodies of kind `JOB` and `ANSWER`. A process says `READY` once it has imported
all it needs, and `MEMORY` or `RAISED` (with a sentence) instead of an answer.
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
