"""The static member id of a worker: one id for one slot of one folder, held by one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.core.errors import SlotInUse
from streams.engine.runtime.identity import SlotLock, instance_id, member_id

_HOLD = """
import sys
from pathlib import Path
from streams.engine.runtime.identity import SlotLock, instance_id
lock = SlotLock(Path(sys.argv[1]), 0)
print(instance_id(Path(sys.argv[1]), 0), flush=True)
sys.stdin.read()
"""


def test_an_id_is_stable_and_belongs_to_one_folder_and_slot(tmp_path):
    """The group must recognise a restart, and two folders on one host must not evict each other."""
    mine = instance_id(tmp_path / "a", 0)
    assert mine == instance_id(tmp_path / "a", 0)
    assert len({mine, instance_id(tmp_path / "a", 1), instance_id(tmp_path / "b", 0)}) == 3
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["id"], "a temporary file is left"


def test_the_member_id_depends_on_the_topics_and_not_on_their_order():
    """Kafka assigns a known id its old partitions, whatever topics it subscribes to later."""
    one = member_id("host-0", ["a", "b"])
    assert one == member_id("host-0", ["b", "a"])
    assert len({one, member_id("host-0", ["a"]), member_id("host-1", ["a", "b"])}) == 3
    assert one.startswith("host-0-")


def test_a_held_slot_is_refused_until_its_process_ends(tmp_path):
    """The kernel releases the lock, also after kill -9."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline().strip() == instance_id(tmp_path, 0)
        with pytest.raises(SlotInUse, match="slot 0"):
            SlotLock(tmp_path, 0)
        SlotLock(tmp_path, 1).close()
        holder.kill()
    SlotLock(tmp_path, 0).close()


def test_a_slot_of_a_folder_that_does_not_exist_yet_is_held(tmp_path):
    """The first start on a new volume must not need a command before it."""
    folder = tmp_path / "var" / "dia"
    SlotLock(folder, 0).close()
    assert instance_id(tmp_path / "lib" / "dia", 0).endswith("-0")
    assert instance_id(folder, 0).endswith("-0"), "the slot made the folder, without an id"
