"""One frozen `Settings`, read once from the environment (and from a running local stack).

`load` also tells where each value came from. A wrong value is a `UsageError` that names the
variable and the range.
"""

from streams.settings.declared import Settings, default_home
from streams.settings.reading import PREFIX, Provenance, load, stack_file

__all__ = ["PREFIX", "Provenance", "Settings", "default_home", "load", "stack_file"]
