"""Which app a command loads, and the error if it cannot be loaded."""

from __future__ import annotations

import sys

import pytest

from agents.app import app as built_in
from streams.cli import main
from streams.core.errors import UsageError
from streams.engine.app.loading import BUILT_IN, load_app, named_app

ORDERS = """
import msgspec
from streams.engine.app.app import App

app = App("acme")

class Order(msgspec.Struct):
    account: str
    ts: int

orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
number = 7
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder for modules, which are removed from the import cache afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIA_APP", raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != ""])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_the_option_decides_then_the_project_then_the_built_in_app(here):
    """A project names its app once; an option of a command overrides it."""
    below = here / "a" / "b"
    below.mkdir(parents=True)
    assert named_app("", below) == BUILT_IN
    (here / "pyproject.toml").write_text('[tool.dia]\napp = "acme_orders:app"\n')
    assert named_app("", below) == "acme_orders:app"
    assert named_app("other:app", below) == "other:app"
    (here / "a" / "pyproject.toml").write_text("[tool.other]\n")
    assert named_app("", below) == BUILT_IN, "the nearest project file names the app"


def test_an_app_of_the_working_folder_is_found(here):
    """`dia` is an installed script, so Python does not add the working folder to the path."""
    (here / "acme_orders.py").write_text(ORDERS)
    assert load_app("acme_orders:app").name == "acme"
    assert load_app("acme_orders") is load_app("acme_orders:app")
    assert load_app(BUILT_IN) is built_in


@pytest.mark.parametrize(
    ("name", "module", "said"),
    [
        ("acme_missing:app", None, "module acme_missing cannot be imported: ModuleNotFoundError"),
        ("acme_orders:nothing", ORDERS, "has no attribute nothing"),
        ("acme_orders:number", ORDERS, "is of the type int"),
        ("acme_orders:app", "x = (\n", "cannot be imported: SyntaxError"),
        ("acme_orders:app", "raise ValueError('first\\nlast line')", "ValueError: last line"),
        ("acme_orders:app", ORDERS + ORDERS.replace("app = App", "# "), "two topics named orders"),
        (
            "acme_orders:app",
            ORDERS + "app.Table('totals', default=int)['a'] = 1\n",
            "--app acme_orders:app: table 'totals' cannot be used here",
        ),
        ("acme orders", None, "names no module"),
        (":app", None, "names no module"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_named_in_one_sentence(here, capsys, name, module, said):
    """Exit code 2, before any request to a broker."""
    if module is not None:
        (here / "acme_orders.py").write_text(module)
    with pytest.raises(UsageError) as refused:
        load_app(name)
    assert said in str(refused.value)
    assert ".. " not in str(refused.value)
    assert main(["topics", "render", "--app", name]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_an_unreadable_project_file_is_an_error(here):
    """Falling back to the built-in app would run the wrong app without a message."""
    (here / "pyproject.toml").write_text("[tool.dia\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml cannot be read"):
        named_app("", here)


def test_every_command_takes_the_app(here, capsys, monkeypatch):
    """The option may stand before or after the command, or in the environment."""
    (here / "acme_orders.py").write_text(ORDERS)
    for argv in (
        ["-A", "acme_orders", "schemas", "list", "--json"],
        ["schemas", "list", "--json", "--app", "acme_orders:app"],
    ):
        assert main(argv) == 0
        assert '"topic":"orders"' in capsys.readouterr().out.replace(" ", "")
    monkeypatch.setenv("DIA_APP", "acme_orders:app")
    assert main(["topics", "render"]) == 0
    rendered = capsys.readouterr().out
    assert "acme.schedule" in rendered
    assert "model.metrics" not in rendered
