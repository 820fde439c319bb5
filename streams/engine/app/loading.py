"""Finds the app of a process.

The first of these decides: ``--app``/``-A``, the setting ``DIA_APP``, ``[tool.dia] app`` of the
pyproject.toml in the working folder or the nearest folder above, the built-in app, which a checkout and a worker's image have.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from streams.core.errors import DiaError, UsageError
from streams.engine.app.app import App

BUILT_IN: Final = "agents.app:app"
ATTRIBUTE: Final = "app"
"""default attribute of a module"""
_INSTALLED: Final = Path(__file__).parents[3]
_FORM = "Write MODULE:ATTRIBUTE, for example --app acme.orders:app"


def named_app(asked: str = "", folder: Path | None = None) -> str:
    """The name of the app for ``asked``, the value of an option or a setting.

    Raises `UsageError` for a pyproject.toml that cannot be read.
    """
    return asked or _of_project(Path.cwd() if folder is None else folder) or BUILT_IN


def load_app(name: str) -> App:
    """The `App` at ``name``: MODULE:ATTRIBUTE, or MODULE with the attribute ``app``.

    Modules of the working folder are found after installed ones. Raises `UsageError`.
    """
    if name == BUILT_IN and not built_in_present():
        raise UsageError(
            "no app is named, and this installation holds none: it is the framework alone. Name yours by "
            "--app MODULE:ATTRIBUTE, DIA_APP, or app in [tool.dia] of pyproject.toml; dia init NAME "
            "writes a project with one."
        )
    module_name, _, attribute = name.partition(":")
    if not module_name or not all(part.isidentifier() for part in module_name.split(".")):
        raise UsageError(f"--app {name!r} names no module. {_FORM}.")
    if name != BUILT_IN and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    found = _attribute(_module(name, module_name), name, attribute or ATTRIBUTE)
    if not isinstance(found, App):
        raise UsageError(
            f"--app {name}: {attribute or ATTRIBUTE} is of the type {type(found).__name__}, not a "
            f"streams.App. {_FORM}."
        )
    found.check()
    return found


def built_in_present() -> bool:
    """A package `agents` that is installed may be another project's."""
    return (_INSTALLED / "agents" / "app.py").is_file()


def _module(name: str, module_name: str) -> Any:
    try:
        return import_module(module_name)
    except DiaError as error:
        raise UsageError(f"--app {name}: {error}") from error
    except Exception as error:
        last = str(error).strip().rpartition("\n")[2]
        raise UsageError(
            f"--app {name}: module {module_name} cannot be imported: {type(error).__name__}: "
            f"{last}. Correct it, or run the command in the folder that holds the module."
        ) from error


def _attribute(module: Any, name: str, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(
                f"--app {name}: module {module.__name__} has no attribute {attribute}. {_FORM}."
            ) from None
    return found


def _of_project(folder: Path) -> str:
    for at in (folder, *folder.parents):
        path = at / "pyproject.toml"
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except OSError:
            return ""
        except ValueError as error:
            raise UsageError(f"{path} cannot be read: {error}. Correct it.") from None
        tool = document.get("tool", {})
        said = tool.get("dia", {}).get("app", "") if isinstance(tool, dict) else ""
        if not isinstance(said, str):
            raise UsageError(f"{path}: [tool.dia] app is not a string. {_FORM}.")
        return said
    return ""
