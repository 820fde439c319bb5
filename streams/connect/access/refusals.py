"""Refusals of HTTP requests: a status and a stable code each."""

from __future__ import annotations

from streams.core.errors import RequestRefused


class BadRequest(RequestRefused):
    """The request has a parameter or a body that cannot be read; the message names it."""

    code = "unreadable"


class Unauthenticated(RequestRefused):
    """The request has no valid token or session."""

    code = "unauthenticated"
    status = 401


class Forbidden(RequestRefused):
    """The token's role or tenant does not allow the request."""

    code = "forbidden"
    status = 403


class CrossSite(RequestRefused):
    """The request may come from a page of another site."""

    code = "csrf"
    status = 403


class UnknownResource(RequestRefused):
    """There is no such path or object, or the caller may not know of it."""

    code = "unknown_resource"
    status = 404


class BodyTimeout(RequestRefused):
    """The body did not arrive in time."""

    code = "body_timeout"
    status = 408


class BodyTooLarge(RequestRefused):
    """The body is longer than the limit that the message names."""

    code = "body_too_large"
    status = 413


class UnsupportedMedia(RequestRefused):
    """The body has a content type or encoding that this path does not take."""

    code = "unsupported_media"
    status = 415


class RateLimited(RequestRefused):
    """This client sends too many requests."""

    code = "rate_limited"
    status = 429


class TooManyAttempts(RateLimited):
    """Too many wrong tokens from this address."""

    code = "too_many_attempts"


class OverQuota(RateLimited):
    """The quota of this tenant is used up for this period."""

    code = "over_quota"


class Overloaded(RequestRefused):
    """A bounded buffer is full, because its consumer is slow or unavailable."""

    code = "overloaded"
    status = 429


class NotStored(RequestRefused):
    """The events were neither acknowledged nor spooled; some may be stored later."""

    code = "not_stored"
    status = 503


class StorageUnavailable(RequestRefused):
    """Neither the broker nor the disk accepts events; the request was not read."""

    code = "nothing_kept"
    status = 503


class TokensUnreadable(RequestRefused):
    """The token file is damaged: all requests are refused until it is repaired."""

    code = "tokens_unreadable"
    status = 503


class KeyNotLocal(RequestRefused):
    """No known worker has the partition of the key open."""

    code = "key_elsewhere"
    status = 503


class NotCommitted(RequestRefused):
    """The value read is not committed and may be rolled back."""

    code = "not_committed"
    status = 503


class PageTimeout(RequestRefused):
    """A page of the app exceeded its deadline."""

    code = "page_late"
    status = 503


class PageFailed(RequestRefused):
    """A page of the app raised an error."""

    code = "page_failed"
    status = 500


class SourceUnavailable(RequestRefused):
    """The circuit breaker of the source is open, and no cache holds the answer."""

    code = "source_away"
    status = 503


class NotAudited(RequestRefused):
    """The operation could not be journaled and was not carried out."""

    code = "not_audited"
    status = 503


class ReadOnly(RequestRefused):
    """Degradation level 2: reads only."""

    code = "read_only"
    status = 503


class ViewsUnavailable(RequestRefused):
    """The file of saved views cannot be read or written."""

    code = "views_unavailable"
    status = 503


class RegionNotActive(RequestRefused):
    """Another region is active; the global address leads to it."""

    code = "region_not_active"
    status = 503


class RegionUnknown(RequestRefused):
    """This edge could not ask for its region's lease in time which region is active."""

    code = "region_unknown"
    status = 503
