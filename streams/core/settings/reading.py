"""Reads settings from the environment and a running local stack, with the source of each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streams.core.errors import UsageError
from streams.core.masking import masked
from streams.core.settings.contexts import DEFAULT, chosen_context, stack_file
from streams.core.settings.declared import Settings
from streams.core.settings.meaning import refuse_meaningless
from streams.core.words.near_names import did_you_mean

PREFIX = "DIA_"


class Provenance(NamedTuple):
    """``environment``, ``local stack`` or ``default``."""

    name: str
    variable: str
    value: str
    source: str
    doc: str


def load(
    environ: Mapping[str, str] | None = None, **overrides: Any
) -> tuple[Settings, list[Provenance]]:
    """Overrides > environment > running local stack > default; of the home, the chosen context is before
    the default. Raises `UsageError` with the variable, its value and its range."""
    env = os.environ if environ is None else environ
    named = overrides.get("home") or env.get("DIA_HOME")
    context = None if named else chosen_context()
    home = Path(str(named)) if context is None else context.home
    stack = _read_stack(home)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for spec in fields(Settings):
        variable = PREFIX + spec.name.upper()
        if overrides.get(spec.name) is not None:
            values[spec.name], sources[spec.name] = overrides[spec.name], "command line"
        elif env.get(variable):
            values[spec.name], sources[spec.name] = (
                _parse(spec, variable, env[variable]),
                "environment",
            )
        elif spec.name in stack:
            values[spec.name], sources[spec.name] = stack[spec.name], "local stack"
    if context is not None:
        values["home"] = str(home)
        if context.name != DEFAULT:
            sources["home"] = f"context {context.name}"
    _refuse_unknown(env)
    settings = Settings(**values)
    _check_bounds(settings)
    refuse_meaningless(settings, [name for name in sources if sources[name] != "local stack"])
    settings.shards()  # raises for an invalid value
    return settings, _explain(settings, sources)


def _read_stack(home: Path) -> dict[str, Any]:
    try:
        loaded = msgspec.json.decode(stack_file(home).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return {}
    known = {spec.name for spec in fields(Settings)}
    return {name: value for name, value in loaded.items() if name in known}


_KINDS: dict[str, type] = {"int": int, "float": float, "str": str}


def _parse(spec: Any, variable: str, text: str) -> Any:
    kind = _KINDS[str(spec.type)]
    try:
        return kind(text)
    except ValueError:
        meta = spec.metadata
        msg = (
            f"{variable}={text} is not a valid {kind.__name__} ({meta['doc']}; "
            f"allowed: {_range(meta)}). Correct it and run the command again."
        )
        raise UsageError(msg) from None


def _range(meta: Mapping[str, Any]) -> str:
    return f"{meta['low']} to {meta['high']}" if meta["low"] is not None else "text"


def _check_bounds(settings: Settings) -> None:
    for spec in fields(Settings):
        low, high = spec.metadata["low"], spec.metadata["high"]
        value = getattr(settings, spec.name)
        if low is not None and not low <= value <= high:
            msg = (
                f"{PREFIX}{spec.name.upper()}={value} is out of range: {spec.metadata['doc']}, "
                f"allowed {low} to {high}.{_other_unit(spec.name, value, low, high)}"
            )
            raise UsageError(msg)
    if settings.misplaced_keys not in {"count", "refuse"}:
        msg = f"DIA_MISPLACED_KEYS={settings.misplaced_keys[:40]} is neither count nor refuse."
        raise UsageError(msg)
    if settings.kernels not in {"on", "off"}:
        raise UsageError(f"DIA_KERNELS={settings.kernels[:40]} is neither on nor off.")
    if settings.commit_timeout_s > settings.session_timeout_s:
        msg = (
            "DIA_COMMIT_TIMEOUT_S must not exceed DIA_SESSION_TIMEOUT_S: a revoked partition "
            "waits for its commit inside the session timeout."
        )
        raise UsageError(msg)


def _other_unit(name: str, value: float, low: float, high: float) -> str:
    """A hint where milliseconds were given for seconds, or the reverse."""
    if name.endswith("_s") and low <= value / 1000 <= high:
        return f" It looks like milliseconds: write {value / 1000:g} for {value / 1000:g} s."
    if name.endswith("_ms") and low <= value * 1000 <= high:
        return f" It looks like seconds: write {value * 1000:g} for {value:g} s."
    return ""


def _refuse_unknown(env: Mapping[str, str]) -> None:
    """A misspelt DIA_ variable would otherwise be ignored."""
    known = {PREFIX + spec.name.upper() for spec in fields(Settings)}
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    if unknown:
        near = "".join(did_you_mean(name, known) for name in unknown[:1])
        msg = f"unknown setting {', '.join(unknown)}: unset it.{near} `dia config show` lists the known ones."
        raise UsageError(msg)


def _explain(settings: Settings, sources: Mapping[str, str]) -> list[Provenance]:
    rows = []
    for spec in fields(Settings):
        value = str(getattr(settings, spec.name))
        rows.append(
            Provenance(
                spec.name,
                PREFIX + spec.name.upper(),
                masked(value),
                sources.get(spec.name, "default"),
                spec.metadata["doc"],
            )
        )
    return rows
