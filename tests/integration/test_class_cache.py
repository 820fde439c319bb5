"""The class cache that a real Java writes for the real Kafka."""

from __future__ import annotations

import os
import subprocess
import time

from streams.core.settings import default_home
from streams.dev.local import class_cache, class_training, jars, kafka
from streams.dev.local.folder import StackFolder
from streams.dev.local.wheels import locate

WAIT_S = 200.0


def test_java_accepts_the_cache_that_it_wrote(tmp_path):
    """Java silently ignores an unsuitable cache unless an option requires one."""
    java = locate().java
    class_path = jars.ensure(jars.cache_folder(os.environ, default_home()), print)
    deadline = time.monotonic() + WAIT_S
    while not class_cache.path_of(java, class_path).exists():
        assert time.monotonic() < deadline
        class_training.ensure(java, class_path, print)
        time.sleep(0.5)
    folder = StackFolder.of(tmp_path)
    folder.create()
    program, *options = kafka.command(folder.broker("kafka"), java, class_path)
    tool = [program, "-XX:AOTMode=on", *options, "kafka.tools.StorageTool", "random-uuid"]
    done = subprocess.run(tool, cwd=folder.logs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
