"""The options of a command that listens, and the address that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.core.errors import UsageError

if TYPE_CHECKING:
    from streams.connect.access.listening import Listening

TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", exists=True, help="PEM chain: serve TLS.")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", exists=True, help="PEM key of it.")]
BehindTls = Annotated[bool, typer.Option("--behind-tls", help="A proxy in front terminates TLS.")]


def listening_of(
    host: str, port: int, cert: Path | None, key: Path | None, *, behind_tls: bool
) -> Listening:
    """Raises `UsageError` for a certificate without a key, or a key without one."""
    from streams.connect.access.listening import Listening

    if (cert is None) is not (key is None):
        raise UsageError("--tls-cert and --tls-key go together.")
    return Listening(host=host, port=port, cert=cert, key=key, behind_tls=behind_tls)
