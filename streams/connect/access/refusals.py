"""Why an HTTP request is refused: a status, and a code of few values, each."""

from __future__ import annotations

from streams.core.errors import RequestRefused


class BadRequest(RequestRefused):
    code = "unreadable"


class Unauthenticated(RequestRefused):
    code = "unauthenticated"
    status = 401


class Forbidden(RequestRefused):
    code = "forbidden"
    status = 403


class CrossSite(RequestRefused):
    """A request that a page of somebody else may have made."""

    code = "csrf"
    status = 403


class UnknownResource(RequestRefused):
    code = "unknown_resource"
    status = 404


class BodyTimeout(RequestRefused):
    code = "body_timeout"
    status = 408


class BodyTooLarge(RequestRefused):
    code = "body_too_large"
    status = 413


class UnsupportedMedia(RequestRefused):
    code = "unsupported_media"
    status = 415


class RateLimited(RequestRefused):
    """This client asks too often."""

    code = "rate_limited"
    status = 429


class TooManyAttempts(RateLimited):
    """This address showed wrong tokens too often."""

    code = "too_many_attempts"


class OverQuota(RateLimited):
    """This tenant has used up what it may have in this time."""

    code = "over_quota"


class Overloaded(RequestRefused):
    """A bounded buffer is full: what is behind it is slow or away."""

    code = "overloaded"
    status = 429


class NotStored(RequestRefused):
    """Events were neither acknowledged nor spooled; some may yet be stored."""

    code = "not_stored"
    status = 503


class StorageUnavailable(RequestRefused):
    """Neither the broker nor a disk could take an event now, so none was looked at."""

    code = "nothing_kept"
    status = 503


class TokensUnreadable(RequestRefused):
    """The file of tokens is damaged: nobody is let in until it is mended."""

    code = "tokens_unreadable"
    status = 503


class KeyNotLocal(RequestRefused):
    """The key is in a partition that no worker known here has open."""

    code = "key_elsewhere"
    status = 503


class NotCommitted(RequestRefused):
    """What was read may yet be taken back, so it is not shown."""

    code = "not_committed"
    status = 503


class PageTimeout(RequestRefused):
    """A page of the app ran past its deadline."""

    code = "page_late"
    status = 503


class PageFailed(RequestRefused):
    """A page of the app raised."""

    code = "page_failed"
    status = 500


class SourceUnavailable(RequestRefused):
    """What it is read from is left alone for now, and no cache has the answer."""

    code = "source_away"
    status = 503


class NotAudited(RequestRefused):
    """An operation that could not be noted, and was not done."""

    code = "not_audited"
    status = 503


class ReadOnly(RequestRefused):
    """Degraded to level 2: what is there is shown, and nothing new begins."""

    code = "read_only"
    status = 503
