"""A schema registry that listens on this machine, with the interface of Confluent's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.connect.schema_registry.memory import MemoryRegistry
from streams.core.errors import SchemaRefused
from streams.core.formats.schema_source import SchemaReference, Subject
from tests.listening import listening


@dataclass
class RegistryServer:
    """``mode``: "" answers; "500", "404", "401": that status without one of the registry's codes;
    "garbage": 200 and no JSON; "large": a body without an end; "slow": no answer at all; "409":
    every schema is refused. ``asked``: method and path of each request."""

    memory: MemoryRegistry = field(default_factory=MemoryRegistry)
    mode: str = ""
    url: str = ""
    user: str = ""
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None

    def app(self) -> Starlette:
        routes = [
            Route("/schemas/ids/{id:int}", self._by_id),
            Route("/subjects/{subject:path}/versions/{version:int}", self._version),
            Route("/subjects/{subject:path}/versions", self._register, methods=["POST"]),
            Route("/subjects/{subject:path}", self._register, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def release(self) -> None:
        """Answer the requests that came while it was slow: otherwise the server cannot end."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.released.set)

    async def _fault(self, request: Request) -> Response | None:
        self.asked.append(f"{request.method} {request.url.path}")
        self.logins.append(request.headers.get("authorization", ""))
        if self.mode in ("500", "404", "401", "503"):
            return JSONResponse({"message": "made up"}, int(self.mode))
        if self.mode == "garbage":
            return Response(b"<html>welcome</html>")
        if self.mode == "large":
            return Response(b" " * (5 << 20))
        if self.mode == "slow":
            await self.released.wait()
        return None

    async def _by_id(self, request: Request) -> Response:
        if (fault := await self._fault(request)) is not None:
            return fault
        number = request.path_params["id"]
        found = self.memory._schemas.get(number)
        return _missing(40403) if found is None else JSONResponse(self._document(number))

    async def _version(self, request: Request) -> Response:
        if (fault := await self._fault(request)) is not None:
            return fault
        versions = self.memory._subjects.get(request.path_params["subject"])
        if versions is None:
            return _missing(40401)
        if request.path_params["version"] > len(versions):
            return _missing(40402)
        return JSONResponse(self._document(versions[request.path_params["version"] - 1]))

    def _document(self, number: int) -> dict[str, object]:
        """The registry omits the type for Avro, and the field of references if there are none."""
        schema = self.memory._schemas[number]
        named = [] if schema.kind == "AVRO" else [("schemaType", schema.kind)]
        references = [
            {"name": name, "subject": subject, "version": versions.index(found) + 1}
            for name, text in schema.references
            for subject, versions in self.memory._subjects.items()
            for found in versions
            if self.memory._schemas[found].text == text
        ]
        if references:
            named.append(("references", references))
        return {"schema": schema.text, **dict(named)}

    async def _register(self, request: Request) -> Response:
        if (fault := await self._fault(request)) is not None:
            return fault
        if self.mode == "409":
            return JSONResponse({"error_code": 409, "message": "READER_FIELD_MISSING"}, 409)
        said = await request.json()
        references = tuple(SchemaReference(**one) for one in said.get("references", ()))
        register = request.url.path.endswith("/versions")
        name = request.path_params["subject"]
        subject = Subject(
            name, said.get("schemaType", "AVRO"), said["schema"], register, references
        )
        try:
            return JSONResponse({"id": self.memory.put(subject)})
        except SchemaRefused:
            return _missing(40403)


def _missing(code: int) -> Response:
    return JSONResponse({"error_code": code, "message": "not found"}, 404)


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """A registry that serves until the block ends."""
    server = RegistryServer()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Starlette]:
        server.loop = asyncio.get_running_loop()
        yield server.app()

    with listening(opened) as url:
        server.url = url
        try:
            yield server
        finally:
            server.release()
