"""The bytes by which a text is found in records."""

from __future__ import annotations

import json


def needles(text: str) -> tuple[bytes, ...]:
    """The text in UTF-8, and as JSON writers escape it: beyond ASCII, and ``/``.

    A writer that escapes other characters (``\\u0041`` for ``A``) is not found.
    """
    escaped = json.dumps(text)[1:-1]
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    forms = (text, plain, escaped, plain.replace("/", "\\/"), escaped.replace("/", "\\/"))
    return tuple(dict.fromkeys(form.encode() for form in forms))
