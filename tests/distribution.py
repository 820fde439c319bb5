"""Which tests of `make test` share a process of pytest, and so the fixtures of its session."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

IN_ONE_PROCESS = ("tests/integration/audit/",)
"""folders whose files share a pipeline, which takes ten seconds of CPU to make"""


class FilesAndFolders(LoadFileScheduling):
    """Gives each file to one process, and all files of a folder of `IN_ONE_PROCESS`."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in IN_ONE_PROCESS if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders | None:
    """The scheduler of ``--dist loadfile``; None for another one. ``log``: of xdist, silent by default."""
    return FilesAndFolders(config, log) if config.getvalue("dist") == "loadfile" else None
