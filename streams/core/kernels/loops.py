"""All kernels. Importing this module compiles them or loads them from the cache."""

from streams.core.kernels.id_filters import ask_filter as ask_filter
from streams.core.kernels.identities import admit as admit
from streams.core.kernels.names import enter_names as enter_names
from streams.core.kernels.names import find_names as find_names
from streams.core.kernels.objects import mark_other_keys as mark_other_keys
from streams.core.kernels.objects import scan as scan
from streams.core.kernels.records import frame as frame
from streams.core.kernels.runs import find_ranges as find_ranges
from streams.core.kernels.runs import merge_runs as merge_runs
from streams.core.kernels.series import enter_rows as enter_rows
from streams.core.kernels.series import find_series as find_series
from streams.core.kernels.series import find_windows as find_windows
from streams.core.kernels.windows import accumulate as accumulate
