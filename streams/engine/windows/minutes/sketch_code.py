"""The DDSketch bucket code of a value, and the value of a code.

DDSketch (Masson, Rim, Lee: VLDB 2019) puts x > 0 into bucket i = floor(ln x / ln gamma) with gamma
= (1 + a) / (1 - a): every value of [gamma^i, gamma^(i+1)) lies within the relative error a of (1 +
a) * gamma^i. Here a = 1 %. A code is the bucket number, shifted by `OFFSET` so that 1e-9 has code
1, with the sign of the value: codes sort as their values do, and 0 stands for all smaller
magnitudes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELATIVE_ERROR = 0.01
LN_GAMMA = 0.0200006667
"""ln((1 + a) / (1 - a)) to ten digits; part of the stored format, so it must not change"""
OFFSET = 1038
SMALLEST = 1e-9
LARGEST_CODE = int(np.iinfo(np.int16).max)
"""|v| about 1e275; an event may carry 1e150
"""


def encode(values: ArrayLike) -> NDArray[np.int16]:
    """Codes of finite values, elementwise; |v| < `SMALLEST` is 0."""
    v = np.asarray(values, dtype=np.float64)
    magnitude = np.abs(v)
    # maximum() avoids log(0), and gives 1e-9 code 1 whatever the last bit of its logarithm.
    bucket = np.floor(np.log(np.maximum(magnitude, SMALLEST)) / LN_GAMMA) + OFFSET
    code = np.copysign(np.clip(bucket, 1, LARGEST_CODE), v)
    return np.where(magnitude < SMALLEST, 0, code).astype(np.int16)


def decode(codes: ArrayLike) -> NDArray[np.float64]:
    """The representative of each code, within 1 % of every value that has it; 0.0 for code 0."""
    c: NDArray[Any] = np.asarray(codes, dtype=np.float64)
    value = np.exp((np.abs(c) - OFFSET) * LN_GAMMA) * (1 + RELATIVE_ERROR)
    return np.where(c == 0, 0.0, np.copysign(value, c))
