"""What people write for a tag: `name`, `tag://name`, `tag://user:token@host/name`, or a list.

The third form is Disco's way to hand a token on with a name. It is taken apart here and never
sent anywhere as it stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from peerdisco.client.names import TAG_SCHEME
from peerdisco.errors import PeerdiscoError

READ_TOKEN_VARIABLE, WRITE_TOKEN_VARIABLE = "DDFS_READ_TOKEN", "DDFS_WRITE_TOKEN"

TagLike = str | Iterable[str]
"""A tag as a caller may name it; of a list the first usable one counts."""


class InvalidTag(PeerdiscoError):
    """What was given names no tag. Nothing was asked or changed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class TagRef:
    """A tag, and the token that stood in its URL.

    Attributes:
        name: Without a scheme.
        token: None when there was none.
    """

    name: str
    token: str | None = None


def parse_tag(tag: TagLike) -> TagRef:
    """What a caller's tag means. Raises InvalidTag."""
    candidates = [tag] if isinstance(tag, str) else list(tag)
    for candidate in candidates:
        found = _parse(candidate)
        if found is not None:
            return found
    raise InvalidTag(f"not a tag: {_shown(candidates)}; write `name` or `tag://name`")


def istag(text: str) -> bool:
    """Whether a text is the URL of a tag."""
    return text.startswith(TAG_SCHEME)


def tagname(tag: TagLike) -> str:
    """The name of a tag. Raises InvalidTag."""
    return parse_tag(tag).name


def canonizetag(tag: TagLike) -> str:
    """`tag://name`, without host and token. Raises InvalidTag."""
    return TAG_SCHEME + parse_tag(tag).name


def default_token(*, write: bool) -> str | None:
    """The token that the environment gives: `DDFS_WRITE_TOKEN`, for reads `DDFS_READ_TOKEN`.

    For reads the write token will do when there is no other, since it opens a tag for both.
    """
    written = os.environ.get(WRITE_TOKEN_VARIABLE)
    return written if write else os.environ.get(READ_TOKEN_VARIABLE, written)


def _parse(text: str) -> TagRef | None:
    if not istag(text):
        return TagRef(text) if text and "/" not in text and "://" not in text else None
    place, slash, name = text.removeprefix(TAG_SCHEME).rpartition("/")
    if not name or "/" in place:
        return None
    if not slash or "@" not in place:
        return TagRef(name)
    user, colon, token = place.rpartition("@")[0].partition(":")
    return TagRef(name, token if colon else user)


def _shown(candidates: list[str]) -> str:
    """For a message: without anything that may be a token."""
    shown = [text.rpartition("@")[2] if "@" in text else text for text in candidates]
    return " or ".join(repr(text[:80]) for text in shown) or "an empty list"
