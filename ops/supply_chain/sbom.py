"""What is in the image and in a development environment, as CycloneDX: `make sbom`.

Names, versions and hashes come from the lock files alone, so it needs no network, and the same locks
give the same bytes: a build can be compared with its bill.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[2]
BILLS = {"worker": ROOT / "docker/requirements.lock", "development": ROOT / "requirements.lock"}

_PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[Component]:
    """One for each package of a lock file, with the hashes of all its files."""
    made: list[Component] = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock):
        named = _PACKAGE.match(block)
        if named is None:
            continue
        name, version = named["name"], named["version"]
        url = PackageURL("pypi", None, name, version)
        made.append(
            Component(
                type=ComponentType.LIBRARY,
                name=name,
                version=version,
                purl=url,
                bom_ref=url.to_string(),
                hashes=[
                    HashType(alg=HashAlgorithm.SHA_256, content=h) for h in _HASH.findall(block)
                ],
            )
        )
    return made


def bill(name: str, lock: str) -> str:
    """The document. Without a time and a serial number, so that it can be compared."""
    bom = Bom(components=components(lock))
    application = Component(
        type=ComponentType.APPLICATION, name=f"dia-{name}", bom_ref=f"dia-{name}"
    )
    bom.metadata.component = application
    bom.register_dependency(application, bom.components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"], document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def main() -> int:
    folder = ROOT / "build" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lock in BILLS.items():
        path = folder / f"{name}.cdx.json"
        path.write_text(bill(name, lock.read_text()))
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
