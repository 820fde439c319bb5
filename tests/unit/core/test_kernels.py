"""Kernels: loaded once, from a cache, or not at all; columns without a Python object for each
value.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from agents.app import MODEL_METRICS
from streams.core import kernels
from streams.core.kernels import compiled, series
from streams.core.kernels.records import MARK, frame
from streams.core.records.text_spans import joined
from streams.engine.app.app import App
from streams.engine.decode.scanning import Scanner
from streams.engine.state.row_table import RowTable, mixed
from streams.engine.windows.minutes.names import NameCodes
from tests.properties.scan_bodies import READINGS, Reading


class UnsetLevel(msgspec.Struct):
    device_id: str
    level: int | msgspec.UnsetType = msgspec.UNSET


class FractionalLevel(msgspec.Struct):
    device_id: str
    level: int = 1.5  # type: ignore[assignment]  # msgspec does not check it


class MadeLevel(msgspec.Struct):
    device_id: str
    level: int = msgspec.field(default_factory=lambda: 7)


compiled_only = pytest.mark.skipif(kernels.active is None, reason="numba or its use is off")


READ_ONLY = """\
import tempfile
made = tempfile.TemporaryFile
def refuse(dir):
    if '__pycache__' in str(dir): raise PermissionError
    return made(dir=dir)
tempfile.TemporaryFile = refuse
"""
"""The beginning of a program whose package cannot be written."""


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


@compiled_only
def test_where_the_package_cannot_be_written_the_cache_is_copied_and_removed():
    """An image is read-only, and compilation at each start would take seconds."""
    found = _python(
        f"{READ_ONLY}from streams.core import kernels\n"
        "print(repr(kernels.load()), end=' ')\n"
        "from streams.core.kernels import compiled, objects\n"
        "print(compiled._CACHE.exists(), compiled._CACHE.name[:12], end=' ')\n"
        "print(sum(objects.scan.stats.cache_hits.values()))"
    )
    assert found == "'' False dia-kernels- 1"


@compiled_only
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_machine_code_that_a_crash_cut_short_is_compiled_anew(suffix):
    """Otherwise every later start would run without kernels."""
    found = _python(
        f"{READ_ONLY}from streams.core import kernels\n"
        "from streams.core.kernels import compiled\n"
        f"[file] = compiled._CACHE.rglob('*.mark_other_keys-*.{suffix}')\n"
        "file.write_bytes(file.read_bytes()[:40])\n"
        "print(repr(kernels.load()), end=' ')\n"
        "from streams.core.kernels import objects\n"
        "print(sum(objects.mark_other_keys.stats.cache_hits.values()), end=' ')\n"
        "print(sum(objects.scan.stats.cache_hits.values()))"
    )
    assert found == "'' 0 1"


def test_without_numba_a_worker_logs_it_and_runs():
    """Wheels of numba appear later than a new Python version."""
    found = _python(
        "import sys; sys.modules['numba'] = None\n"
        "from streams.core import kernels\n"
        "print(kernels.load(), '|', kernels.active)"
    )
    assert "numba cannot be imported" in found
    assert found.endswith("| None")


def test_kernels_can_be_switched_off():
    """An operator who suspects a kernel can switch it off."""
    found = _python(
        "import sys\n"
        "from streams.core import kernels\n"
        "print(kernels.load('off'), kernels.active, 'numba' in sys.modules)"
    )
    assert found == "DIA_KERNELS=off None False"


@compiled_only
def test_a_topic_is_scanned_only_where_the_scanner_reads_all_of_it():
    """Required fields, other codecs and non-scalar fields are read by `decode` only."""
    assert Scanner.of(MODEL_METRICS) is not None
    assert Scanner.of(READINGS) is not None
    for options in (
        {"versions": {1: dict[str, int]}},
        {"versions": {1: UnsetLevel}},
        {"versions": {1: FractionalLevel}},
        {"versions": {1: MadeLevel}},
        {"versions": {1: Reading}, "time_field": "level"},
        {"versions": {1: Reading}, "key_field": "note"},
        {"versions": {1: Reading, 2: Reading}, "upcasters": {1: lambda event: event}},
    ):
        topic = App("others").topic("t", schema="t", partitions=1, **options)
        assert Scanner.of(topic) is None


@compiled_only
def test_names_keep_their_codes_in_every_look_up():
    """A changed code would fold one tenant's events into another's."""
    codes = NameCodes("tenant")
    names = [f"tenant-{i}" for i in range(5000)] + ["é", "x" * 128, ""]
    spans = joined([name.encode() for name in names])
    assert codes.codes(spans.take(np.arange(3))).tolist() == [0, 1, 2]
    assert codes.codes(names).tolist() == [*range(len(names))]
    assert codes.codes(spans).tolist() == [*range(len(names))]
    assert codes.codes(spans.take(np.arange(0, 5000, 7))).tolist() == [*range(0, 5000, 7)]


def _frame(reader, data: bytes, count: int) -> tuple[bool, list[list[int]]]:
    columns = np.zeros((6, count), np.int64)
    buffer = np.frombuffer(data + bytes(300), np.uint8)
    return bool(reader(buffer, 0, len(data), 100, 5, *columns)), columns.tolist()


def test_inconsistent_records_are_not_framed():
    """Lengths come from the producer and are not trusted. Compiled and interpreted code agree."""
    good = bytes([16, 0, 0, 0, 2, 65, 2, 66, 0])
    for data, count, framed in (
        (good, 1, True),
        (good + bytes([12, 0, 0, 2, 1, 0, 0]), 2, True),  # no key, an empty value
        (good + good, 2, False),  # offsets do not rise
        (good, 2, False),
        (good + b"\0", 1, False),
        (good[:-1], 1, False),
        (bytes([16, 0, 0, 0, 2, 65, 2, 66, 2]), 1, False),  # headers
        (bytes([44, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes() + b"\1", 1, True),
        (bytes([44, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes() + b"\0", 1, True),
        (bytes([44, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes() + b"\2", 1, False),
        (bytes([44, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes()[:-1] + b"e\1", 1, False),
        (bytes([46, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes() + b"\2a", 1, False),
        (bytes([46, 0, 0, 0, 2, 65, 2, 66, 2]) + MARK.tobytes() + b"\1\0", 1, False),
        (bytes([44, 0, 0, 0, 2, 65, 2, 66, 4]) + MARK.tobytes() + b"\1", 1, False),
        (
            bytes([16, 128, 0, 0, 2, 65, 2, 66, 0]),
            1,
            False,
        ),  # attributes, which aiokafka reads as a number
        (bytes([16, 0, 0, 0, 2, 65, 200, 66, 0]), 1, False),
        (bytes([16, 0, 0, 0, 3, 65, 2, 66, 0]), 1, False),
        (b"\x80" * 9, 1, False),
        (b"", 1, False),
    ):
        found = [_frame(reader, data, count) for reader in (frame, compiled.twin(frame))]
        assert [answer for answer, _ in found] == [framed, framed], data
        assert not framed or found[0] == found[1]


def _with_hash(hashes: np.ndarray) -> np.ndarray:
    """Series keys with the given `mixed` values."""
    inverse = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
    word = hashes * inverse
    word ^= word >> np.uint64(32)
    return (word * inverse).view(np.int64)


@compiled_only
@pytest.mark.parametrize("count", [3, 64, 200])
def test_series_that_collide_in_one_slot_are_all_found(count):
    """Keys may be chosen to collide: those beyond the bound of probes are found in an overflow
    list.
    """
    keys = _with_hash((np.uint64(5) << np.uint64(32)) | np.arange(300, dtype=np.uint64))
    assert (mixed(keys) >> np.uint64(32)).tolist() == [5] * 300
    known, strangers = keys[:count], keys[count:]
    table = RowTable()
    table.add(mixed(known), np.arange(count))
    minutes, serials = np.full(count, 7), np.arange(count)
    serials[1] = -1
    for needles, expected in ((known, [*range(count)]), (strangers, [-1] * len(strangers))):
        rows = np.empty(len(needles), np.int64)
        for find in (series.find_series, compiled.twin(series.find_series)):
            find(*table.entries, needles, known, rows)
            assert rows.tolist() == expected
        live = [-1 if row == 1 else row for row in expected]
        for find in (series.find_windows, compiled.twin(series.find_windows)):
            find(*table.entries, needles, 7, known, minutes, serials, rows)
            assert rows.tolist() == live
            find(*table.entries, needles, 8, known, minutes, serials, rows)
            assert rows.tolist() == [-1] * len(needles)


def test_shared_modules_of_commands_do_not_import_numpy():
    """Otherwise `dia --help` would take 0.1 s longer."""
    found = _python("import sys, streams.core.types; print('numpy' in sys.modules)")
    assert found == "False"
