"""The chDB server configuration of one shard: small pools and caches, for many on a laptop."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

_POOLS = {
    "max_thread_pool_size": 256,
    "max_thread_pool_free_size": 8,
    "background_pool_size": 2,
    "background_common_pool_size": 2,
    "background_schedule_pool_size": 2,
    "background_move_pool_size": 1,
    "background_fetches_pool_size": 1,
    "background_buffer_flush_schedule_pool_size": 1,
    "background_message_broker_schedule_pool_size": 1,
    "background_distributed_schedule_pool_size": 1,
    "mark_cache_size": 64 << 20,
    "uncompressed_cache_size": 0,
}
_MERGE_TREE = {
    # The defaults assume sixteen background threads and refuse a table with two.
    "number_of_free_entries_in_pool_to_lower_max_size_of_merge": 1,
    "number_of_free_entries_in_pool_to_execute_mutation": 1,
    "number_of_free_entries_in_pool_to_execute_optimize_entire_partition": 1,
}


def write(path: Path, memory_bytes: int, backups: Path | None = None) -> Path:
    """Beside the data of ``path``. ``backups``: the one folder that BACKUP writes to."""
    root = ET.Element("clickhouse")
    for name, value in {**_POOLS, "max_server_memory_usage": memory_bytes}.items():
        ET.SubElement(root, name).text = str(value)
    merge_tree = ET.SubElement(root, "merge_tree")
    for name, value in _MERGE_TREE.items():
        ET.SubElement(merge_tree, name).text = str(value)
    if backups is not None:
        ET.SubElement(ET.SubElement(root, "backups"), "allowed_path").text = str(backups)
    file = path / "front.xml"
    ET.ElementTree(root).write(file)
    return file
