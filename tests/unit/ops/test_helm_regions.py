"""A region in the chart: every pod that serves knows all regions, and one pod mirrors the others."""

from __future__ import annotations

import helm_python as helm
import pytest

from streams.core.settings import load
from streams.operate.regions.declared import require_regions
from tests.unit.ops.chart import check, component, environment, kind, render, values

REGIONS = values("regions")["region"]


def region(**changes):
    return {**values("regions"), "region": {**REGIONS, **changes}}


def test_workers_and_the_mirror_read_one_file_of_regions(tmp_path):
    """An edge without it would serve in two regions at once."""
    documents = render(region())
    (config,) = (one for one in kind(documents, "ConfigMap") if "regions.toml" in one["data"])
    file = tmp_path / "regions.toml"
    file.write_text(config["data"]["regions.toml"])
    for workload in (*kind(documents, "StatefulSet"), *kind(documents, "Deployment")):
        pod = workload["spec"]["template"]["spec"]
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        given = environment({"containers": containers[:1]})
        assert given["DIA_REGION"] == "west"
        assert {"name": "regions", "configMap": {"name": config["metadata"]["name"]}} in pod[
            "volumes"
        ]
        settings, _ = load({"DIA_REGION": given["DIA_REGION"], "DIA_REGIONS_FILE": str(file)})
        found = require_regions(settings)
        assert (found.own, found.others, found.lease_s) == ("west", ["east"], 30)
        assert found.region("east").edges == ("https://edge.east.example:8480",)
    for job in kind(documents, "Job"):  # they run before the file is there
        assert "DIA_REGION" not in environment(job["spec"]["template"]["spec"])


def test_the_mirror_runs_what_dia_prints_and_the_secret_adds():
    """One of them at a time: two would fence each other."""
    mirror = component(render(region()), "Deployment", "dia-mirror")
    check(mirror)
    assert (mirror["spec"]["replicas"], mirror["spec"]["strategy"]) == (1, {"type": "Recreate"})
    pod = mirror["spec"]["template"]["spec"]
    (script,) = pod["initContainers"][0]["args"]
    assert script.split("\n")[:2] == [
        "dia region mirror --print > /mirror/mm2.properties",
        "cat /secrets/mirror/properties >> /mirror/mm2.properties",
    ]
    assert pod["containers"][0]["command"][1] == "/mirror/mm2.properties"


def test_without_a_region_there_is_neither_file_nor_mirror():
    """An upgrade changes nothing where there is one region."""
    documents = render(region(name=""))
    assert not kind(documents, "Deployment")
    assert not any("regions.toml" in one["data"] for one in kind(documents, "ConfigMap"))


@pytest.mark.parametrize(
    "changes", [{"name": "north"}, {"every": REGIONS["every"][1:]}], ids=["unknown", "alone"]
)
def test_a_region_that_no_process_would_take_is_refused(changes):
    """Each process would refuse it at its start, after the upgrade."""
    with pytest.raises(helm.HelmError, match=r"region\."):
        render(region(**changes))
