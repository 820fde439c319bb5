"""The frozen `Settings`, read once from the environment and a running local stack. An invalid value
raises `UsageError` with the variable and its range."""

from streams.core.settings import secret_file
from streams.core.settings.contexts import stack_file
from streams.core.settings.declared import Settings
from streams.core.settings.default_home import default_home
from streams.core.settings.reading import PREFIX, Provenance, load
from streams.core.settings.tls import TlsFiles

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
