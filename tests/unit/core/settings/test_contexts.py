"""A second terminal finds the stack that a first one started, without --home on each command."""

from __future__ import annotations

import pytest

from streams import cli
from streams.core.errors import UsageError
from streams.core.settings import load
from streams.core.settings.contexts import chosen_context, known_contexts, use_context


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The default home, without DIA_HOME."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DIA_HOME", raising=False)
    for name in ("DIA_KAFKA_BOOTSTRAP", "DIA_CLICKHOUSE_SHARDS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "dia"


@pytest.fixture
def demo(home):
    """A demo's stack that runs."""
    stack = home / "demo" / "stack"
    stack.mkdir(parents=True)
    (stack / "settings.json").write_text('{"kafka_bootstrap": "127.0.0.1:1"}')
    return home / "demo"


def test_the_chosen_context_is_the_home_until_another_one_is_named(home, demo, monkeypatch):
    """--home and DIA_HOME are of one command, and must win."""
    assert load()[0].home_path() == home
    use_context("demo")
    settings, told = load()
    assert (settings.home_path(), settings.kafka_bootstrap) == (demo, "127.0.0.1:1")
    assert next(one.source for one in told if one.name == "home") == "context demo"
    assert load(home=str(home))[0].home_path() == home
    monkeypatch.setenv("DIA_HOME", str(home / "other"))
    assert load()[0].home_path() == home / "other"
    monkeypatch.delenv("DIA_HOME")
    use_context("default")
    assert load()[0].home_path() == home


def test_a_folder_is_a_context(home, tmp_path):
    """Two checkouts keep a stack each."""
    (tmp_path / "shop").mkdir()
    assert use_context(str(tmp_path / "shop")).name == "shop"
    assert chosen_context().home == tmp_path / "shop"
    assert [one.name for one in known_contexts()] == ["default", "shop"]


def test_an_unknown_context_is_refused_with_the_known_ones(home, demo):
    """A typo must not send commands to an empty folder."""
    with pytest.raises(UsageError, match="Known are default, demo"):
        use_context("dmeo")
    assert chosen_context().name == "default"


def test_an_error_of_an_unreachable_service_names_the_context_and_the_running_stack(
    home, demo, capsys
):
    """ "Start the local stack" beside a running demo made people start a second, empty one."""
    assert cli.main(["dlq", "stats"]) == 4
    said = capsys.readouterr().err
    assert f"context default, {home}." in said
    assert f"One runs in {demo}: `dia context use demo`" in said
    assert cli.main(["--home", str(home), "dlq", "stats"]) == 4
    assert "context" not in capsys.readouterr().err


def test_the_list_has_a_star_at_the_chosen_one(home, demo, capsys):
    """As kubectl shows it."""
    assert cli.main(["context", "use", "demo"]) == 0
    assert "its stack runs" in capsys.readouterr().err
    assert cli.main(["context", "list", "--json"]) == 0
    assert '"context":"demo","stack":"running"' in capsys.readouterr().out.replace(
        ", ", ","
    ).replace(": ", ":")


def test_a_broken_file_is_no_choice(home):
    """A command must not fail because of it."""
    home.mkdir(parents=True)
    (home / "context.json").write_text("{")
    assert chosen_context().home == home
