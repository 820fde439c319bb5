"""Record keys as people write them."""

from __future__ import annotations

from streams.core.errors import UsageError


def record_key(text: str, option: str = "--key") -> bytes:
    """The bytes of a key: UTF-8, or after 0x hexadecimal. Raises `UsageError` naming ``option``."""
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise UsageError(
            f"{option} {text} is not hexadecimal: write 0x and pairs of digits."
        ) from None
