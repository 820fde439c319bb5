"""The client address of a request."""

from __future__ import annotations

from starlette.requests import Request

from streams.connect.access.connections import site_of

FORWARDED_FOR = "x-forwarded-for"


def client_site(request: Request, *, behind_proxy: bool) -> str:
    """As `site_of`. Behind a proxy, the last entry of X-Forwarded-For, which the proxy appended;
    earlier entries come from the client."""
    if behind_proxy:
        last = ",".join(request.headers.getlist(FORWARDED_FOR)).rpartition(",")[2].strip()
        if last:
            return site_of(last[:64])
    return site_of(request.client.host) if request.client else ""
