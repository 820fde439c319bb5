"""Writes the cache of `class_cache`, once per user, Java and set of jars: a broker starts on its
own ports and folder, and stops once it serves (JEP 514)."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streams.core.errors import DependencyUnreachable
from streams.core.process.file_lock import exclusive
from streams.dev.local import kafka
from streams.dev.local.child import Child
from streams.dev.local.class_cache import path_of
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import new_plan
from streams.dev.local.roster import ChildState

WRITING_S = 90.0
STEP_INTERVAL_S = 0.05


def ensure(java: Path, class_path: str, progress: Callable[[str], None]) -> None:
    """Never raises: a broker starts without it. Does not wait for another process that creates
    it."""
    try:
        cache = path_of(java, class_path)
        with exclusive(cache.parent / "classes.lock", 0, lambda: None):
            if cache.exists():
                return
            progress("preparing Kafka's classes, once: later starts take half as long")
            for outdated in cache.parent.glob("classes-*.aot"):
                outdated.unlink()
            for left_behind in cache.parent.glob("training-*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="training-", dir=cache.parent) as home:
                written = Path(home) / "classes.aot"
                _train(StackFolder.of(Path(home)), java, class_path, written)
                written.replace(cache)
    except TimeoutError:
        return
    except (OSError, DependencyUnreachable) as error:
        progress(f"Kafka's classes could not be prepared, it starts slower without: {error}")


def _train(folder: StackFolder, java: Path, class_path: str, written: Path) -> None:
    folder.create()
    plan = new_plan(shards=1)
    kafka.prepare(folder, plan, java, class_path)
    [service] = kafka.services(folder, plan, java, class_path)
    argv = (service.argv[0], f"-XX:AOTCacheOutput={written}", *service.argv[1:])
    child = Child(replace(service, argv=argv, stop_timeout_s=WRITING_S))
    child.start()
    try:
        while child.state is ChildState.STARTING:  # for at most its ready_timeout_s
            time.sleep(STEP_INTERVAL_S)
            child.step()
    finally:
        child.ask_to_stop()
        child.finish()
