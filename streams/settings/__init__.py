"""One frozen `Settings`, read once from the environment (and from a running local stack).

`load` also tells where each value came from. A wrong value is a `UsageError` that names the
variable and the range.
"""

from streams.settings import secret_file
from streams.settings.declared import Settings
from streams.settings.default_home import default_home
from streams.settings.reading import PREFIX, Provenance, load, stack_file
from streams.settings.tls import TlsFiles

__all__ = [
    "PREFIX",
    "Provenance",
    "Settings",
    "TlsFiles",
    "default_home",
    "load",
    "secret_file",
    "stack_file",
]
