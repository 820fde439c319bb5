"""AES-CMAC in numpy, compared with the published vectors and OpenSSL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.cmac import SHORT_BYTES, Cmac

# RFC 4493, section 4; the same as NIST SP 800-38B, D.1.
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
VECTORS = {
    0: "bb1d6929e95937287fa37d129b756746",
    16: "070a16b46b4d4144f79bdd9dd04a287c",
    40: "dfa66747de9ae63030ca32611497c827",
    64: "51f0bebf7e3b9d92fc49741779363cfe",
}

sizes = st.sampled_from([0, 1, 15, 16, 17, 36, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 700])
texts = sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size))


@pytest.mark.parametrize("size", VECTORS)
def test_the_published_vectors(size):
    """An error in a subkey would still look random."""
    mac = bytes.fromhex(VECTORS[size])
    assert Cmac(KEY).one(MESSAGE[:size]) == mac
    assert Cmac(KEY).many([MESSAGE[:size]])[0].tobytes() == mac


@pytest.mark.parametrize("size", [16, 40, 64])
def test_a_prefix_is_the_first_block_of_the_message(size):
    """A tenant's fingerprint can precede an id without being copied into each text."""
    prefix = np.frombuffer(MESSAGE[:16], np.uint64).reshape(1, 2)
    assert Cmac(KEY).many([MESSAGE[16:size]], prefix)[0].tobytes() == bytes.fromhex(VECTORS[size])


@given(st.lists(texts, max_size=12), st.binary(min_size=16, max_size=16))
def test_a_batch_of_macs_equals_openssls(messages, key):
    """Each message has its own MAC, whatever lengths are mixed in a batch."""
    cmac = Cmac(key)
    assert [mac.tobytes() for mac in cmac.many(messages)] == [cmac.one(m) for m in messages]
    prefixes = np.arange(2 * len(messages), dtype=np.uint64).reshape(-1, 2)
    assert [mac.tobytes() for mac in cmac.many(messages, prefixes)] == [
        cmac.one(before.tobytes() + m) for before, m in zip(prefixes, messages, strict=True)
    ]
