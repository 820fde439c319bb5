"""Which tests of `make test` share a process of pytest, and so the fixtures of its session; and which
process takes which of them."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

IN_ONE_PROCESS = ("tests/integration/audit/",)
"""folders whose files share a pipeline, which takes ten seconds of CPU to make"""

WAITING = ("tests/contract/", "tests/integration/")
"""folders whose tests wait for a real stack most of their time"""


class FilesAndFolders(LoadFileScheduling):
    """Gives each file to one process, and all files of a folder of `IN_ONE_PROCESS`.

    Every second process begins with the tests that wait, the others with the tests that compute, so that
    the cores are busy from the begin to the end, and few processes need a stack. A process that has no
    more of its kind takes of the other."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in IN_ONE_PROCESS if file.startswith(folder)), file)

    def _assign_work_unit(self, node: WorkerController) -> None:
        waiting = int(node.gateway.id.removeprefix("gw")) % 2 == 0
        for scope in self.workqueue:
            if scope.startswith(WAITING) == waiting:
                self.workqueue.move_to_end(scope, last=False)
                break
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders | None:
    """The scheduler of ``--dist loadfile``; None for another one. ``log``: of xdist, silent by default."""
    return FilesAndFolders(config, log) if config.getvalue("dist") == "loadfile" else None
