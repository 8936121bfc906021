"""Failures that a client is told about, each with its HTTP status.

What stands behind the ports raises these (or OSError, which means "unavailable at the moment");
the application turns them into `application/problem+json`. Anything else is our own bug: it is
logged and becomes a plain 500 without details.
"""

from __future__ import annotations

from peerdisco_webui.messages import PROTECTED_TAG, Problem


class ApiError(Exception):
    """Base: the request was understood and cannot be granted.

    Unless a subclass says otherwise, nothing was changed.
    """

    status = 400
    title = "Bad request"
    kind = "about:blank"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def problem(self) -> Problem:
        """The body of the answer."""
        return Problem(type=self.kind, title=self.title, status=self.status, detail=self.detail)


class BadRequest(ApiError):
    """The request makes no sense; repeating it will not help."""


class Unauthorized(ApiError):
    """No valid token came with the request."""

    status = 401
    title = "Who are you?"


class TagTokenNeeded(ApiError):
    """The tag has a token, and it did not come with the request."""

    status = 401
    title = "Tag token needed"
    kind = PROTECTED_TAG


class Forbidden(ApiError):
    """The caller is known, or need not be, and may not do this."""

    status = 403
    title = "Not allowed"


class NotFound(ApiError):
    """There is no such job, tag, blob or page."""

    status = 404
    title = "Not found"


class TooSlow(ApiError):
    """The body of the request stopped coming; nothing of it was kept."""

    status = 408
    title = "Request timeout"


class Conflict(ApiError):
    """The thing has changed since the caller looked."""

    status = 409
    title = "Conflict"


class PreconditionFailed(ApiError):
    """A condition in the headers does not hold."""

    status = 412
    title = "Precondition failed"


class TooLarge(ApiError):
    """The body is over the limit of this route; it was not read."""

    status = 413
    title = "Too large"


class WrongMediaType(ApiError):
    """A write that a foreign web page could have made."""

    status = 415
    title = "Unsupported media type"


class RangeNotSatisfiable(ApiError):
    """The range lies outside the blob."""

    status = 416
    title = "Range not satisfiable"


class Unavailable(ApiError):
    """Too few nodes answer at the moment; whether the change happened is unknown."""

    status = 503
    title = "Unavailable"


class OverQuota(ApiError):
    """A quota of an owner or of a prefix of tags does not allow so much; nothing was stored."""

    status = 403
    title = "Over quota"


class StorageFull(ApiError):
    """The disk of this node is full; another node may have space."""

    status = 507
    title = "Disk full"
