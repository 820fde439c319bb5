"""The file of regions: what is refused, and what each process gets of it."""

from __future__ import annotations

import pytest

from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.operate.regions.declared import regions_of, require_regions

GOOD = """
lease_s = 20
[[region]]
name = "east"
bootstrap = "kafka.east:9092"
edges = ["https://edge.east:8480"]
[[region]]
name = "west"
bootstrap = "kafka.west:9092"
"""


@pytest.fixture
def declared(tmp_path):
    def of(text, region="east"):
        (tmp_path / "regions.toml").write_text(text)
        return regions_of(Settings(home=str(tmp_path), region=region))

    return of


def test_a_process_knows_its_region_and_the_others(declared):
    """An edge asks every region's cluster, its own by its own address."""
    found = declared(GOOD)
    assert (found.own, found.others, found.lease_s) == ("east", ["west"], 20.0)
    own = Settings(kafka_bootstrap="127.0.0.1:9", region="east")
    assert set(found.brokers(own)) == {"east", "west"}


def test_without_a_region_nothing_is_asked(tmp_path):
    """A pipeline of one region needs no file."""
    assert regions_of(Settings(home=str(tmp_path))) is None
    with pytest.raises(UsageError, match="DIA_REGION"):
        require_regions(Settings(home=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("kafka.east:9092", "[::1]:9092,b.east:1"), None),
        (("kafka.east:9092", "kafka.east"), "bootstrap of region east .* 'kafka.east' is none"),
        (("kafka.west:9092", "kafka.west:99999"), "bootstrap of region west .*99999"),
        (('"west"', '"east"'), "must differ"),
        (('"east"', '"East!"'), "lower-case"),
        (('"east"', '"north"'), "not one of north, west"),
        (("lease_s = 20", "lease_s = 1"), "out of range"),
        (("https://edge", "edge"), "http://"),
        (("bootstrap", "boostrap"), "cannot be read"),
        (("lease_s = 20", "lease_s = "), "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(declared, change, says):
    """A misspelt region would leave an edge that never serves, or always."""
    text = GOOD.replace(*change)
    if says is None:
        assert declared(text) is not None
        return
    with pytest.raises(UsageError, match=says):
        declared(text)


def test_a_missing_file_is_named(tmp_path):
    """The message says which file to write."""
    with pytest.raises(UsageError, match=r"regions\.toml"):
        regions_of(Settings(home=str(tmp_path), region="east"))
