"""``python -m streams.dev.local.clickhouse_front``: serve one shard until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from aiohttp import web

from streams.dev.local.clickhouse_front.credentials import Credentials
from streams.dev.local.clickhouse_front.engine import ChdbEngine
from streams.dev.local.clickhouse_front.errors import StatementFailed
from streams.dev.local.clickhouse_front.server import LOG, Front

HOST = "127.0.0.1"
_LOG_BYTES = 10 << 20


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m streams.dev.local.clickhouse_front", description=__doc__
    )
    parser.add_argument("--path", type=Path, required=True, help="data folder of this shard")
    parser.add_argument("--port", type=int, required=True, help=f"port on {HOST}")
    parser.add_argument("--user", default="default")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--database", default="dia", help="default database; made if absent")
    parser.add_argument("--backups", type=Path, help="the folder that BACKUP may write to")
    parser.add_argument("--log", type=Path, required=True, help="log file")
    parser.add_argument("--memory-bytes", type=int, default=2 << 30, help="engine memory limit")
    parser.add_argument(
        "--drain-s", type=float, default=10.0, help="how long a stop waits for running statements"
    )
    return parser.parse_args(argv)


async def _serve(front: Front, port: int, drain_s: float) -> None:
    """Until a signal; then let statements finish within ``drain_s``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        front.app, access_log=None, auto_decompress=False, shutdown_timeout=drain_s
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        LOG.info("serving: address=%s:%d pid=%d", HOST, port, os.getpid())
        await stop.wait()
        LOG.info("stopping: drain_s=%g", drain_s)
        front.stop_taking()
    finally:
        await runner.cleanup()


def main(argv: list[str] | None = None) -> int:
    """0 after a clean stop, 1 when statements were abandoned, 4 when it could not start."""
    options = _arguments(argv)
    handler = RotatingFileHandler(options.log, maxBytes=_LOG_BYTES, backupCount=1)
    logging.basicConfig(
        level=logging.INFO, handlers=[handler], format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        credentials = Credentials(options.user, options.password_file)
        engine = ChdbEngine(options.path, options.database, options.memory_bytes, options.backups)
    except (OSError, StatementFailed) as error:
        return _refuse(f"the shard at {options.path} cannot start: {error}")
    front = Front(engine, credentials)
    try:
        asyncio.run(_serve(front, options.port, options.drain_s))
    except OSError as error:
        engine.close(0.0)
        return _refuse(f"port {options.port} cannot be used: {error.strerror or error}")
    front.close()
    abandoned = engine.close(1.0)
    LOG.info("stopped: abandoned=%d", abandoned)
    logging.shutdown()
    if abandoned:
        # chDB must not be closed during a statement; it survives a kill
        os._exit(1)
    return 0


def _refuse(sentence: str) -> int:
    LOG.error(sentence)
    print(sentence, file=sys.stderr)  # noqa: T201 - for the process that started the shard
    return 4


if __name__ == "__main__":
    sys.exit(main())
