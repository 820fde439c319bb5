"""Which client a request comes from, as far as an address tells."""

from __future__ import annotations

from starlette.requests import Request

from streams.connect.access.connections import site_of

FORWARDED_FOR = "x-forwarded-for"


def client_site(request: Request, *, behind_proxy: bool) -> str:
    """The address that counts of a client, as `site_of` gives it.

    Behind a proxy that is the last one of X-Forwarded-For, which the proxy appended itself; those
    before it are whatever the client wrote. Elsewhere the header counts for nothing.
    """
    if behind_proxy:
        last = ",".join(request.headers.getlist(FORWARDED_FOR)).rpartition(",")[2].strip()
        if last:
            return site_of(last[:64])
    return site_of(request.client.host) if request.client else ""
