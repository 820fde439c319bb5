"""`dia init`: a new project: one app, its test, an image, and values for the chart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from streams.core.errors import RefusedBySafety, UsageError


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the project, its package and its app.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where; default: a folder of that name here.")
    ] = None,
) -> None:
    """Write a new project: an app, its test, an image, values for the chart.

    Example: dia init acme && cd acme && pytest
    """
    for path in write_project(name, Path(name) if folder is None else folder):
        typer.echo(path)


_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = frozenset({"agents", "schemas", "streams", "tables", "tests"})

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["dia-streams"]

[tool.setuptools]
packages = ["{name}"]

[tool.dia]
app = "{name}.app:app"
"""

_APP = '''\
"""Orders, counted: run it with `dia worker`, test it with `pytest`."""

import msgspec

from streams import App

app = App("{name}")


class Order(msgspec.Struct):
    account: str
    amount: float


orders = app.topic("{name}.orders", value_type=Order, key_field="account", partitions=4)
large = app.topic("{name}.large", value_type=Order, key_field="account", partitions=4)
totals = app.Table("totals", default=float)


@app.agent(orders, sink=[large])
async def count(stream):
    """What an account spent; large orders go on to a topic of their own."""
    async for order in stream:
        totals[order.account] += order.amount
        if order.amount >= 1000:
            yield order
'''

_TEST = '''\
"""The app on the real engine, in memory; `app_tester` comes with dia."""

from {name}.app import Order, app, large


def test_totals_survive_a_crash(app_tester):
    tester = app_tester(app)
    tester.send("{name}.orders", Order(account="a", amount=2.0))
    tester.crash()
    tester.send("{name}.orders", Order(account="a", amount=1000.0))
    assert tester.table("totals") == {{"a": 1002.0}}
    assert [sent.value["amount"] for sent in tester.outputs(large)] == [1000.0]
'''

_DOCKERFILE = """\
# DIA_IMAGE: the worker image of dia, built from its repository (docker/Dockerfile).
ARG DIA_IMAGE=dia
FROM ${{DIA_IMAGE}}
COPY --chown=10001:10001 {name} /app/{name}
ENV PYTHONPATH=/app DIA_APP={name}.app:app
"""

_VALUES = """\
# helm install {name} ops/helm/dia -f values.yaml, in dia's repository
image:
  repository: {name}
  tag: "0.1.0"
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "{name}/__init__.py": "",
    "{name}/app.py": _APP,
    "tests/test_app.py": _TEST,
    "Dockerfile": _DOCKERFILE,
    "values.yaml": _VALUES,
}


def write_project(name: str, folder: Path) -> list[Path]:
    """Returns the files; ``folder`` must be new or empty. Raises `UsageError` for a name that is no
    package name, and `RefusedBySafety` for a folder with content."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise UsageError(
            f"a project cannot be called {name!r}: it is the name of its Python package. Use up to 40 "
            f"small letters, digits and _, the first a letter, and none of {', '.join(sorted(_TAKEN))}."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedBySafety(
            f"{folder} is there and not empty: nothing was written. Name another folder, or empty it."
        )
    written = []
    for path, text in _FILES.items():
        file = folder / path.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(name=name))
        written.append(file)
    return written
