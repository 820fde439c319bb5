"""Refuses values of the right type without a valid meaning when settings are read, so that no
process starts with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from streams.core.errors import UsageError
from streams.core.settings.declared import Settings
from streams.core.settings.job_retries import job_retries

_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/,\[\]]+):(\d{1,5})")
_MADE_BY_US = "tokens_file"
_WORDS: dict[str, Collection[str]] = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "console", "json"),
}
_SHARDINGS = ("range", "directory")


def refuse_meaningless(settings: Settings, given: Iterable[str]) -> None:
    """Check the fields in ``given``, which the user set. Raises `UsageError` for the first invalid
    one."""
    for name in given:
        value = getattr(settings, name)
        if not isinstance(value, str) or not value:
            continue
        wanted = _wanted(name, value)
        if wanted is not None:
            shown = "" if name in _SECRET else f"={value}"
            raise UsageError(f"DIA_{name.upper()}{shown} {wanted}. Correct or unset it.")


def _wanted(name: str, value: str) -> str | None:
    if name in _WORDS and value.lower() not in _WORDS[name]:
        return f"is not one of {', '.join(_WORDS[name])}"
    if name.endswith("_file") and name != _MADE_BY_US:
        return _wanted_file(value)
    check = _CHECKS.get(name)
    return check(value) if check is not None else None


def _wanted_file(value: str) -> str | None:
    try:
        return None if Path(value).is_file() else "names no file that is there"
    except (OSError, ValueError):  # too long, inaccessible, or with a NUL
        return "names no file that can be read"


def wanted_brokers(value: str) -> str | None:
    """What is wrong with addresses of Kafka; None: nothing."""
    for one in value.split(","):
        found = _HOST_PORT.fullmatch(one.strip())
        if found is None or not 0 < int(found[1]) <= 65_535:
            return f"is no list of host:port[,host:port]: {one.strip()!r} is none"
    return None


def _url(*schemes: str) -> Callable[[str], str | None]:
    words = " or ".join(f"{scheme}://" for scheme in schemes)

    def wanted(value: str) -> str | None:
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "unix")
            _ = parts.port  # raises ValueError for a port that is no number, or too large
        except ValueError:
            good = False
        return None if good else f"is no address that begins with {words}"

    return wanted


def _wanted_shards(value: str) -> str | None:
    if "@" in value:
        return None  # a password may contain delimiters; the shard's client checks it
    wanted = _url("http", "https")
    groups = [group for group in value.split(",") if group.strip()]
    if not groups:
        return "names no shard"
    urls = (url.strip() for group in groups for url in group.split("|"))
    return next((found for url in urls if url and (found := wanted(url))), None)


def _wanted_sharding(value: str) -> str | None:
    kind, colon, file = value.partition(":")
    if value == "hash":
        return None
    if kind not in _SHARDINGS or not colon or not file:
        return "is not one of hash, range:FILE, directory:FILE"
    return _wanted_file(file)


def _wanted_retries(value: str) -> str | None:
    try:
        job_retries(value)
    except ValueError as error:
        return f"cannot be used: {error}"
    return None


_SECRET = ("clickhouse_shards", "redis_url")
_CHECKS: dict[str, Callable[[str], str | None]] = {
    "kafka_bootstrap": wanted_brokers,
    "clickhouse_shards": _wanted_shards,
    "redis_url": _url("redis", "rediss", "unix"),
    "policy_url": _url("http", "https"),
    "otel_endpoint": _url("http", "https"),
    "schema_registry_url": _url("http", "https"),
    "sharding": _wanted_sharding,
    "job_retries": _wanted_retries,
}
