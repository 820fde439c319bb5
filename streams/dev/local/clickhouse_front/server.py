"""The HTTP server: authenticate, parse, choose a lane, run, reply as ClickHouse."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from aiohttp import web

from streams.dev.local.clickhouse_front import request as requests
from streams.dev.local.clickhouse_front.credentials import Credentials
from streams.dev.local.clickhouse_front.engine import ChdbEngine
from streams.dev.local.clickhouse_front.errors import (
    ABORTED,
    NOT_IMPLEMENTED,
    TOO_MANY_ROWS_OR_BYTES,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    StatementFailed,
    from_engine,
)
from streams.dev.local.clickhouse_front.reply import StreamedReply, summary_header, whole
from streams.dev.local.clickhouse_front.statements import StatementKind

LOG = logging.getLogger("clickhouse_front")
DISPLAY_NAME = "dia-chdb"
_SETTINGS = {
    # clickhouse-local accepts a bare expression as a query; a server refuses it.
    "implicit_select": "0",
    "max_threads": "2",
    "max_execution_time": "300",
    "max_memory_usage": str(1 << 30),
    # A view on a dead peer must fail at once; ten tries take minutes.
    "http_max_tries": "2",
    "http_connection_timeout": "2",
}
_EXPIRY_INTERVAL_S = 10.0


class Front:
    """Serves one engine to one user."""

    def __init__(
        self,
        engine: ChdbEngine,
        credentials: Credentials,
        limits: requests.FrontLimits | None = None,
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._limits = limits or requests.FrontLimits()
        self._bodies = requests.BodyBudget(self._limits)
        self._inserts = StatementLane("insert", threads=4, waiting_max=64)
        self._reads = StatementLane("read", threads=6, waiting_max=128)
        self._sisters = StatementLane("sister", threads=4, waiting_max=128)
        self._stopping = False
        self.app = web.Application(client_max_size=self._limits.body_bytes)
        self.app.router.add_get("/ping", self._ok)
        self.app.router.add_get("/replicas_status", self._ok)
        self.app.router.add_route("*", "/", self._answer)
        self.app.cleanup_ctx.append(self._expiry)

    def stop_taking(self) -> None:
        self._stopping = True

    def close(self) -> None:
        for lane in (self._inserts, self._reads, self._sisters):
            lane.close()

    async def _ok(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self._stopping else 200, text="Ok.\n")

    async def _expiry(self, _app: web.Application) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(_EXPIRY_INTERVAL_S)
                await asyncio.to_thread(self._engine.sessions.expire)

        task = asyncio.create_task(expire())
        yield
        task.cancel()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
        }
        try:
            self._admit(request)
            if request.method == "HEAD":
                # ClickHouse sends HEAD before each GET of url(). A body would stay in the
                # connection, before the next reply.
                return web.Response(headers=headers)
            return await self._serve(request, headers)
        except (StatementFailed, OSError, ValueError) as error:
            failed = error if isinstance(error, StatementFailed) else from_engine(error)
            LOG.warning(
                "statement failed: query_id=%s code=%d %.500s", query_id, failed.code, failed
            )
            return web.Response(
                status=failed.status,
                text=f"{failed} (version {self._engine.version})\n",
                headers={**headers, "X-ClickHouse-Exception-Code": str(failed.code)},
            )

    def _admit(self, request: web.Request) -> None:
        self._credentials.check(request.headers, request.query)
        if self._stopping:
            raise StatementFailed(ABORTED, "This shard is stopping.")

    async def _serve(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        form: dict[str, str] = {}
        body = b""
        if request.content_type.startswith("multipart/"):
            posted = await request.post()
            form = {name: value for name, value in posted.items() if isinstance(value, str)}
            if len(form) < len(posted):
                raise StatementFailed(NOT_IMPLEMENTED, "External data tables are not served.")
        else:
            body = await self._bodies.read(request)
        try:
            sources = requests.RequestSources(
                query=request.query, form=form, headers=request.headers
            )
            task = await self._read(request, body, sources)
            return await self._run(request, headers, task)
        finally:
            self._bodies.release(len(body))

    async def _read(
        self, request: web.Request, body: bytes, sources: requests.RequestSources
    ) -> requests.Task:
        build = partial(
            requests.task,
            sources,
            body,
            readonly=request.method == "GET",
            defaults=_SETTINGS,
            limits=self._limits,
        )
        if "Content-Encoding" in sources.headers:
            return await asyncio.to_thread(build)
        return build()

    async def _run(
        self, request: web.Request, headers: dict[str, str], task: requests.Task
    ) -> web.StreamResponse:
        lane = self._lane(task)
        if not task.streamed:
            return await lane.run(partial(self._whole, headers, task))
        headers = {**headers, "X-ClickHouse-Format": task.output_format}
        reply = StreamedReply(request, headers, task.encoding)
        try:
            await lane.run(partial(self._stream, reply, task))
        except StatementFailed as failed:
            if not reply.started:
                raise
            LOG.warning("stream broken off: code=%d %.500s", failed.code, failed)
            await reply.break_off(failed, self._engine.version)
        except (ConnectionError, TimeoutError) as error:
            LOG.warning("client left its stream: %s", error)
        return reply.response if reply.started else web.Response(headers=headers)

    def _lane(self, task: requests.Task) -> StatementLane:
        if task.statement.kind is StatementKind.INSERT:
            return self._inserts
        sister = task.call.settings.get("log_comment") == SISTER_COMMENT
        return self._sisters if sister else self._reads

    def _whole(self, headers: dict[str, str], task: requests.Task) -> web.Response:
        statement = task.statement
        if statement.insert is not None:
            summary = self._engine.insert(task.call, statement.insert)
            return whole(b"", {**headers, "X-ClickHouse-Summary": summary_header(summary)}, None)
        body, summary = self._engine.query(task.call, statement.text, task.output_format)
        if len(body) > self._limits.result_bytes:
            # The engine's own limit ignores the length of a constant column.
            raise StatementFailed(
                TOO_MANY_ROWS_OR_BYTES,
                f"The result is longer than {self._limits.result_bytes} bytes.",
            )
        headers = {**headers, "X-ClickHouse-Summary": summary_header(summary)}
        if body or statement.kind is not StatementKind.COMMAND:
            headers["X-ClickHouse-Format"] = task.output_format
        return whole(body, headers, task.encoding)

    def _stream(self, reply: StreamedReply, task: requests.Task) -> None:
        chunks = self._engine.stream(task.call, task.statement.text, task.output_format)
        with closing(chunks):
            for chunk in chunks:
                reply.write(chunk)
        if reply.started:
            reply.finish()


SISTER_COMMENT = "dia_sister"

T = TypeVar("T")


class StatementLane:
    """At most ``waiting_max`` statements are queued."""

    def __init__(self, name: str, threads: int, waiting_max: int) -> None:
        self.name = name
        self._places = threads + waiting_max
        self._taken = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-lane")

    async def run(self, work: Callable[[], T]) -> T:
        """Code 202 when threads and queue are full. The work completes even when the waiting task
        is cancelled."""
        if self._taken >= self._places:
            raise StatementFailed(
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries: {self._taken} in the {self.name} lane.",
            )
        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _future: asyncio.Future[T]) -> None:
        self._taken -= 1
