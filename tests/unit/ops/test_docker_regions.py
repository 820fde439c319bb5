"""Two composed regions on one machine: what the second file adds fits the first one and the code."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from streams.core.settings import load
from streams.operate.regions.declared import regions_of

DOCKER = Path(__file__).parents[3] / "docker"
BASE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
ADDED = yaml.safe_load((DOCKER / "region.yaml").read_text())
RUNNING = ("worker", "edge", "console")
COMMANDS = ("operator", "mirror-properties")


def _filled(text, region):
    """As Compose fills in the variables of one region."""
    return text.replace("${REGION:?east or west}", region).replace("${REGION}", region)


@pytest.mark.parametrize("region", ["east", "west"])
def test_each_process_is_of_its_region_and_knows_both(tmp_path, region):
    """An edge without the file of regions would serve in both."""
    file = tmp_path / "regions.toml"
    file.write_text(ADDED["configs"]["regions"]["content"])
    for name in (*RUNNING, *COMMANDS):
        service = ADDED["services"][name]
        added = {key: _filled(value, region) for key, value in service["environment"].items()}
        (mounted,) = service["configs"]
        assert (mounted["source"], mounted["target"]) == ("regions", added["DIA_REGIONS_FILE"])
        base = BASE["services"][name if name in RUNNING else "topics"]["environment"]
        settings, _ = load({**base, **added, "DIA_REGIONS_FILE": str(file)})
        found = regions_of(settings)
        assert found is not None
        assert (found.own, sorted(found.every)) == (region, ["east", "west"])


@pytest.mark.parametrize("region", ["east", "west"])
def test_brokers_and_edges_have_the_names_of_the_file(region):
    """A client of the other region gets the address that the broker tells."""
    kafka, edge = ADDED["services"]["kafka"], ADDED["services"]["edge"]
    names = {_filled(name, region) for name in kafka["networks"]["regions"]["aliases"]}
    told = _filled(kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"], region)
    assert names == {f"kafka.{region}"}
    assert told.startswith(f"CLIENTS://kafka.{region}:9092,")
    assert set(kafka["networks"]["default"]["aliases"]) == set(
        kafka["networks"]["regions"]["aliases"]
    )
    assert [_filled(one, region) for one in edge["networks"]["regions"]["aliases"]] == [
        f"edge.{region}"
    ]


def test_both_regions_fit_on_one_machine():
    """Each port on loopback begins with a digit of its region."""
    ports = [port for one in BASE["services"].values() for port in one.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:${PORTS:-1}") for port in ports)
    assert ADDED["networks"]["regions"] == {"name": "dia-regions", "external": True}
    reached = {name for name, one in ADDED["services"].items() if "regions" in one["networks"]}
    assert reached == {"kafka", "mirror", *RUNNING, *COMMANDS}


def test_the_mirror_is_the_brokers_own_and_is_bounded():
    """Its properties are those of this version, made before it starts."""
    mirror, made = ADDED["services"]["mirror"], ADDED["services"]["mirror-properties"]
    assert mirror["image"] == BASE["services"]["kafka"]["image"]
    assert mirror["deploy"]["resources"]["limits"]
    assert (mirror["read_only"], mirror["cap_drop"]) == (True, ["ALL"])
    path = mirror["command"][-1]
    assert f"dia region mirror --print >{path}" in made["command"][0]
    assert mirror["depends_on"] == {
        "mirror-properties": {"condition": "service_completed_successfully"}
    }
    volumes = {volume.partition(":")[0] for one in (mirror, made) for volume in one["volumes"]}
    assert volumes == set(ADDED["volumes"])
