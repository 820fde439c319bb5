"""Contexts: named folders of local stacks and state, one of which commands use without --home.

The choice is one file in the default home. `--home` and DIA_HOME take precedence over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.core.errors import UsageError
from streams.core.settings.default_home import default_home

DEFAULT: Final = "default"
DEMO: Final = "demo"


def stack_file(home: Path) -> Path:
    """Addresses of a running local stack: a flat JSON object of setting name to value."""
    return home / "stack" / "settings.json"


class Context(NamedTuple):
    """``home`` is the folder that --home would name."""

    name: str
    home: Path

    @property
    def running(self) -> bool:
        """A local stack has written its addresses, which it removes when it stops."""
        return stack_file(self.home).is_file()


class _Chosen(msgspec.Struct):
    name: str
    home: str


def chosen_context() -> Context:
    """The one that `use_context` stored; without one, or where its file cannot be read, the default
    home. Raises `UsageError` for a user without a home."""
    try:
        found = msgspec.json.decode(_file().read_bytes(), type=_Chosen)
    except (OSError, msgspec.MsgspecError):
        return Context(DEFAULT, default_home())
    return Context(found.name, Path(found.home))


def known_contexts() -> list[Context]:
    """The default one, the demo's where there is one, and the chosen one."""
    return [*dict.fromkeys((*_standing(), chosen_context()))]


def use_context(name: str) -> Context:
    """``name``: default, demo, or an existing folder. Raises `UsageError`."""
    found = next((one for one in _standing() if one.name == name), None)
    if found is None:
        home = Path(name).expanduser().absolute()
        if not home.is_dir():
            known = ", ".join(one.name for one in _standing())
            raise UsageError(
                f"there is no context {name!r}, and no folder of that name. Known are {known}; a folder "
                "becomes one by `dia --home FOLDER up`."
            )
        found = Context(home.name, home)
    if found.name == DEFAULT:
        _file().unlink(missing_ok=True)
        return found
    _file().parent.mkdir(parents=True, exist_ok=True)
    _file().write_bytes(msgspec.json.encode(_Chosen(found.name, str(found.home))))
    return found


def elsewhere(home: Path) -> str:
    """Where else a stack runs, as a sentence for a message; "" where none is known."""
    running = [one for one in known_contexts() if one.running and one.home != home]
    if not running:
        return ""
    one = running[0]
    return f" One runs in {one.home}: `dia context use {one.name}`."


def _standing() -> Iterator[Context]:
    home = default_home()
    yield Context(DEFAULT, home)
    if (home / DEMO).is_dir():
        yield Context(DEMO, home / DEMO)


def _file() -> Path:
    return default_home() / "context.json"
