"""`dia up --region`: stacks of several regions in one home."""

from __future__ import annotations

from functools import partial

import pytest

from streams.core.errors import UsageError
from streams.core.settings import load
from streams.dev.local.folder import StackFolder
from streams.dev.local.regions import publish, up_regions
from streams.dev.local.status import StackStatus
from streams.operate.regions.declared import require_regions


def started(ports, home):
    folder = StackFolder.of(home)
    folder.create()
    running = StackStatus(
        home=home, running=True, kafka_bootstrap=f"127.0.0.1:{ports[home.name]}", shards=("http://a:1",)
    )  # fmt: skip
    publish(folder, running)
    return running


def regions_in(home):
    settings, _ = load({"DIA_HOME": str(home)})
    return require_regions(settings)


def test_commands_in_the_home_of_a_region_are_of_that_region(tmp_path):
    """Without variables that a person sets for each command; and after the stack starts again by itself."""
    ports = {"east": 19001, "west": 19002}
    stacks = up_regions(tmp_path, ["east", "west"], partial(started, ports))
    assert [one.home for one in stacks.values()] == [
        tmp_path / "regions" / name for name in ("east", "west")
    ]
    for name, other in (("east", "west"), ("west", "east")):
        home = tmp_path / "regions" / name
        StackFolder.of(home).published.unlink()  # as a stack that stops
        started(ports, home)
        found = regions_in(home)
        assert (found.own, found.others) == (name, [other])
        assert found.region(other).bootstrap == f"127.0.0.1:{ports[other]}"
    assert load({"DIA_HOME": str(tmp_path)})[0].region == ""


def test_new_addresses_are_written_by_the_same_command(tmp_path):
    """`--new-ports` moves a region's broker."""
    up_regions(tmp_path, ["east", "west"], partial(started, {"east": 19001, "west": 19002}))
    up_regions(tmp_path, ["east", "west"], partial(started, {"east": 19001, "west": 19003}))
    found = regions_in(tmp_path / "regions" / "east")
    assert found.region("west").bootstrap == "127.0.0.1:19003"


@pytest.mark.parametrize("names", [["east"], ["east", "east"], ["east", "../west"]])
def test_names_that_make_no_regions_start_nothing(tmp_path, names):
    """One region has no other one to fail over to."""
    with pytest.raises(UsageError, match="--region"):
        up_regions(tmp_path, names, partial(started, {}))
    assert not (tmp_path / "regions").exists()
