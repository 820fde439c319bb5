"""ClickHouse's error codes, in messages and as HTTP statuses, as in
src/Server/HTTP/exceptionCodeToHTTPStatus.cpp."""

from __future__ import annotations

import re

NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
QUERY_IS_TOO_LARGE = 229
TOO_MANY_SIMULTANEOUS_QUERIES = 202
ABORTED = 236
MEMORY_LIMIT_EXCEEDED = 241
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
BAD_ARGUMENTS = 36
INCORRECT_DATA = 117
TOO_MANY_ROWS_OR_BYTES = 396
SETTING_CONSTRAINT_VIOLATION = 452
DATABASE_ACCESS_DENIED = 291
AUTHENTICATION_FAILED = 516
UNSUPPORTED_MEDIA_TYPE = 779
STD_EXCEPTION = 1001

_NAMES = {
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    ABORTED: "ABORTED",
    MEMORY_LIMIT_EXCEEDED: "MEMORY_LIMIT_EXCEEDED",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    INCORRECT_DATA: "INCORRECT_DATA",
    TOO_MANY_ROWS_OR_BYTES: "TOO_MANY_ROWS_OR_BYTES",
    SETTING_CONSTRAINT_VIOLATION: "SETTING_CONSTRAINT_VIOLATION",
    DATABASE_ACCESS_DENIED: "DATABASE_ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    UNSUPPORTED_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
    STD_EXCEPTION: "STD_EXCEPTION",
}

_STATUSES: dict[int, tuple[int, ...]] = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321,
          376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 202, 209, 236, 439),
}  # fmt: skip
# 202 and 236 are 500 on a server; here they mean "full or stopping", which clients may retry.
_STATUS_OF = {code: status for status, codes in _STATUSES.items() for code in codes}

_CODE = re.compile(r"Code: (\d+)\. ")


class StatementFailed(Exception):  # noqa: N818 - the protocol's word is exception, not error
    """``code`` is ClickHouse's."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        name = _NAMES.get(code)
        super().__init__(f"Code: {code}. DB::Exception: {text} ({name})" if name else text)

    @property
    def status(self) -> int:
        return _STATUS_OF.get(self.code, 500)


def from_engine(error: Exception) -> StatementFailed:
    """Its code is parsed from chDB's text."""
    text = str(error)
    found = _CODE.search(text)
    if found is None:
        return StatementFailed(STD_EXCEPTION, text)
    failed = StatementFailed(int(found.group(1)), "")
    failed.args = (text[found.start() :],)
    return failed


def exception_block(tag: str, text: str) -> bytes:
    """The block that ends a reply whose headers are already sent, since 25.11: ``__exception__``,
    the tag of ``X-ClickHouse-Exception-Tag``, the message, its length, the tag,
    ``__exception__``."""
    message = f"{text}\n".encode()
    return b"__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (
        tag.encode(),
        message,
        len(message),
        tag.encode(),
    )
