"""What can go wrong for somebody who uses the storage, and what each error left unchanged.

Errors between machines are plain OSErrors and stay inside this package; a user of `Storage` sees
only the errors below. See `storage.py` for who raises them.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything that the storage raises on purpose."""


class BadName(StorageError, ValueError):
    """A tag, attribute or blob name breaks the rules. Nothing was changed."""


class NoSuchTag(StorageError, LookupError):
    """There is no tag of that name, or it was deleted. Nothing was changed."""


class NoSuchBlob(StorageError, LookupError):
    """Every node that can be asked answered that it does not hold the blob."""


class Conflict(StorageError):
    """The condition of a write did not hold. Nothing was changed."""


class Limit(StorageError, ValueError):
    """The request is larger than what one tag or blob may hold. Nothing was changed."""


class StorageFull(StorageError):
    """This node has no room for a blob; another one may. Nothing was stored."""


class OverQuota(StorageError):
    """A quota does not allow so much; the message names it, what is used, and the limit."""


class Unavailable(StorageError):
    """Too few of the responsible nodes could be reached; try again later.

    Attributes:
        unknown: True when a write may or may not have taken effect. Repeating it with the same
            operation id is always safe.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class Forgotten(StorageError):
    """A retry came so late that nobody knows whether its first try took effect.

    It was not applied now: doubling an operation would be worse than refusing it.
    """


class Denied(StorageError, PermissionError):
    """The caller's token does not allow this with the tag. Nothing was changed."""
