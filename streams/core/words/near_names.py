"""Names that are close to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three of ``known``, the closest first; case and the signs ``-_.`` do not count."""
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    return [plain[found] for found in get_close_matches(_plain(name), plain)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that begins with a space; empty without a close name."""
    near = near_names(name, known)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(".", "")
