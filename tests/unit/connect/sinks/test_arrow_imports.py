"""Modules that a worker does not import."""

from __future__ import annotations

import subprocess
import sys

_PROBE = """
import sys
from streams.connect.sinks import arrow
arrow.forgo_pandas()
import numpy, pyarrow
pyarrow.array(["a"]), pyarrow.array(numpy.arange(3))
print("pandas" in sys.modules)
import pandas
print(pandas.__name__)
"""


def test_the_first_array_does_not_import_pandas_and_others_still_may():
    """The import would delay the first inserts of every worker; chdb, which depends on pandas,
    needs it elsewhere.
    """
    answer = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.split() == ["False", "pandas"]
