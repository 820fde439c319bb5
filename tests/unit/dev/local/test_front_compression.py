"""Decompression of request bodies within a bound, and compression of replies."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dev.local.clickhouse_front.compression import compressor, open_body, reply_encoding
from streams.dev.local.clickhouse_front.errors import StatementFailed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", PACK)
@given(data=st.binary(min_size=1), more=st.binary(min_size=1))
def test_concatenated_frames_are_decompressed(encoding: str, data: bytes, more: bytes) -> None:
    """A client may compress block by block."""
    body = PACK[encoding](data) + PACK[encoding](more)
    assert open_body(body, encoding, 1 << 20) == data + more


@pytest.mark.parametrize("encoding", PACK)
def test_a_small_body_cannot_become_a_large_one(encoding: str) -> None:
    """A decompression bomb takes at most the bound."""
    bomb = PACK[encoding](bytes(10 << 20))
    with pytest.raises(StatementFailed) as caught:
        open_body(bomb, encoding, 1 << 20)
    assert caught.value.code == 229


@pytest.mark.parametrize("encoding", PACK)
def test_a_truncated_body_is_refused(encoding: str) -> None:
    """A part of the rows must not count as all."""
    whole = PACK[encoding](bytes(range(256)) * 100)
    with pytest.raises(StatementFailed) as caught:
        open_body(whole[: len(whole) // 2], encoding, 1 << 20)
    assert caught.value.code == 117


def test_an_unknown_encoding_is_refused() -> None:
    """415, as on a server."""
    with pytest.raises(StatementFailed) as caught:
        open_body(b"x", "br", 10)
    assert caught.value.status == 415


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
@given(chunks=st.lists(st.binary(), max_size=5))
def test_a_compressed_reply_decompresses_to_the_original(
    encoding: str, chunks: list[bytes]
) -> None:
    """Chunk by chunk, also for an empty reply."""
    packer = compressor(encoding)
    sent = b"".join([packer.compress(chunk) for chunk in chunks]) + packer.flush()
    assert open_body(sent, encoding, 1 << 20) == b"".join(chunks)


def test_the_reply_uses_the_best_common_encoding() -> None:
    """A client lists the encodings that it accepts, with or without weights."""
    assert reply_encoding("gzip, br;q=0.5, lz4;q=0.1") == "lz4"
    assert reply_encoding("br") is None
    assert reply_encoding("") is None
