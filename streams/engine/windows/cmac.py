"""AES-128-CMAC (NIST SP 800-38B, RFC 4493) of many short messages at once.

A keyed hash of 128 bits (a PRF). One AES-ECB call encrypts block b of all messages: 0.1 us for an
id of 36 bytes, where OpenSSL's CMAC of one message takes 3.7 us. Messages that are empty or longer
than `SHORT_BYTES` use OpenSSL.

    subkeys    L = E(0);  K1 = L * x,  K2 = K1 * x  in GF(2^128)
    state      E(state ^ block) for each block of 16 bytes but the last
    mac        E(state ^ last): a whole last block ^ K1; a part ^ padding 80 00 ... ^ K2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from numpy.typing import NDArray

Macs: TypeAlias = NDArray[np.uint64]
"""Shape (n, 2): the 16 bytes of each mac as two little-endian words."""

KEY_BYTES: Final = 16
SHORT_BYTES: Final = 256
_BLOCK: Final = 16
_SHORT_BLOCKS: Final = SHORT_BYTES // _BLOCK
_POLYNOMIAL: Final = 0x87


class Cmac:
    """``key`` has `KEY_BYTES`. Not thread-safe."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(key)
        self._ecb = Cipher(self._algorithm, modes.ECB()).encryptor()  # noqa: S305 - CMAC's block cipher
        whole = _doubled(self._ecb.update(bytes(_BLOCK)))
        part = _doubled(whole)
        self._kept, self._closing = _last_blocks(whole, part)

    def one(self, message: bytes) -> bytes:
        mac = CMAC(self._algorithm)
        mac.update(message)
        return mac.finalize()

    def many(self, texts: Sequence[bytes], prefixes: Macs | None = None) -> Macs:
        """The mac of each text, preceded by its 16-byte prefix if ``prefixes`` are given."""
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        return self.joined(b"".join(texts), sizes, prefixes)

    def joined(self, texts: bytes, sizes: NDArray[np.int64], prefixes: Macs | None = None) -> Macs:
        """As `many`; text i is the next ``sizes[i]`` bytes of ``texts``."""
        padded = np.frombuffer(texts + bytes(SHORT_BYTES), np.uint8)
        return self.spans(padded, np.cumsum(sizes) - sizes, sizes, prefixes)

    def spans(
        self,
        padded: NDArray[np.uint8],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        prefixes: Macs | None = None,
    ) -> Macs:
        """As `many`; text i is the ``sizes[i]`` bytes at ``starts[i]``. At least `SHORT_BYTES`
        bytes follow every start."""
        blocks = np.minimum(-(-sizes // _BLOCK), _SHORT_BLOCKS + 1)
        counts = np.flatnonzero(np.bincount(blocks)).tolist()
        if len(counts) == 1:
            return self._alike(padded, starts, sizes, counts[0], prefixes)
        macs = np.empty((len(sizes), 2), np.uint64)
        for count in counts:
            rows = np.flatnonzero(blocks == count)
            before = prefixes.take(rows, 0) if prefixes is not None else None
            macs[rows] = self._alike(padded, starts[rows], sizes[rows], count, before)
        return macs

    def pairs(self, first: Macs, second: Macs) -> Macs:
        """The raw CBC-MAC of messages of exactly these two blocks (ISO/IEC 9797-1, algorithm 1,
        safe for one length): half the work of padding them."""
        return self._encrypt(self._encrypt(first) ^ second)

    def _alike(
        self,
        padded: NDArray[np.uint8],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        count: int,
        prefixes: Macs | None,
    ) -> Macs:
        """For texts of ``count`` blocks each, or any texts that are not short."""
        if not 1 <= count <= _SHORT_BLOCKS:
            return self._one_by_one(padded, starts, sizes, prefixes)
        width = count * _BLOCK
        windows = np.ndarray((len(padded) - width + 1,), f"V{width}", padded, strides=(1,))
        words = windows[starts].view(np.uint64).reshape(-1, 2 * count)
        left = sizes - (width - _BLOCK)
        last = words[:, -2:] & self._kept.take(left, 0)
        last ^= self._closing.take(left, 0)
        state = self._encrypt(prefixes) if prefixes is not None else np.uint64(0)
        for block in range(count - 1):
            state = self._encrypt(words[:, 2 * block : 2 * block + 2] ^ state)
        return self._encrypt(last ^ state)

    def _one_by_one(
        self,
        texts: NDArray[np.uint8],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        prefixes: Macs | None,
    ) -> Macs:
        spans = zip(starts.tolist(), sizes.tolist(), strict=True)
        messages = [texts[start : start + size].tobytes() for start, size in spans]
        if prefixes is not None:
            pairs = zip(prefixes, messages, strict=True)
            messages = [before.tobytes() + text for before, text in pairs]
        macs = b"".join([self.one(message) for message in messages])
        return np.frombuffer(macs, np.uint64).reshape(-1, 2)

    def _encrypt(self, blocks: Macs) -> Macs:
        out = np.empty(blocks.size * 8 + _BLOCK - 1, np.uint8)
        self._ecb.update_into(np.ascontiguousarray(blocks).data.cast("B"), out.data)
        return out[: blocks.size * 8].view(np.uint64).reshape(-1, 2)


def _doubled(block: bytes) -> bytes:
    """Times x in GF(2^128)."""
    value = int.from_bytes(block, "big") << 1
    if value >> (8 * _BLOCK):
        value ^= 1 << (8 * _BLOCK) | _POLYNOMIAL
    return value.to_bytes(_BLOCK, "big")


def _last_blocks(whole: bytes, part: bytes) -> tuple[Macs, Macs]:
    """By length of the last block, 0 to 16: the mask of its message bits, and the bits to add."""
    kept = np.zeros((_BLOCK + 1, _BLOCK), np.uint8)
    closing = np.zeros((_BLOCK + 1, _BLOCK), np.uint8)
    for size in range(_BLOCK + 1):
        kept[size, :size] = 0xFF
        closing[size] = np.frombuffer(whole if size == _BLOCK else part, np.uint8)
        if size < _BLOCK:
            closing[size, size] ^= 0x80
    return kept.view(np.uint64), closing.view(np.uint64)
