"""The static files, served from memory under a path with the digest of the bundle. A browser may
cache a file for ever and never mixes two versions."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
_MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_KEPT_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Asset:
    media_type: str
    plain: bytes
    packed: bytes


class Bundle:
    """``path`` is ``/static/DIGEST``, for the templates."""

    def __init__(self, folder: Path = FOLDER) -> None:
        digest = sha256()
        self._assets: dict[str, Asset] = {}
        for file in sorted(folder.rglob("*")):
            if file.suffix not in _MEDIA:
                continue
            name, content = file.relative_to(folder).as_posix(), file.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            packed = gzip.compress(content, mtime=0)
            self._assets[name] = Asset(_MEDIA[file.suffix], content, packed)
        self._digest = digest.hexdigest()[:16]
        self.path = f"/static/{self._digest}"

    def __contains__(self, name: str) -> bool:
        return name in self._assets

    async def answer(self, request: Request) -> Response:
        """A file of this version; 404 for any other."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None or request.path_params["digest"] != self._digest:
            return Response("no such file\n", 404, media_type="text/plain")
        headers = {
            "Cache-Control": f"public, max-age={_KEPT_S}, immutable",
            "Vary": "Accept-Encoding",
        }
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(asset.plain, 200, headers, asset.media_type)
        return Response(asset.packed, 200, headers | {"Content-Encoding": "gzip"}, asset.media_type)
