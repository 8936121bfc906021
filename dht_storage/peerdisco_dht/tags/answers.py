"""What callers of `Tags` get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peerdisco_dht.tags.head import Event, Urls


@dataclass(frozen=True, slots=True)
class TagInfo:
    """What a write left behind.

    Attributes:
        name: The tag.
        version: Its version after the write.
    """

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag.

    Attributes:
        name: The tag.
        version: Grows with every change.
        urls: Newest entry first; an entry is the URLs of its replicas.
        attrs: What users attached, by name.
        modified: Wall time of the last change, for people.
        owner: Who created it, as the caller said.
        read_protected: Whether it has a read token.
        write_protected: Whether it has a write token.
    """

    name: str
    version: int
    urls: tuple[Urls, ...]
    attrs: Mapping[str, str]
    modified: float
    owner: str = ""
    read_protected: bool = False
    write_protected: bool = False


@dataclass(frozen=True, slots=True)
class TagHistory:
    """The last changes of a tag, newest first.

    Attributes:
        name: The tag.
        owner: Who created it, as the caller said.
        events: At most `head.HISTORY_MAX`.
    """

    name: str
    owner: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class TagPage:
    """A page of tag names.

    Attributes:
        names: In order.
        next: Go on with `after=next`; None at the end.
        missing: Partitions that did not answer; names in them may be lacking.
    """

    names: tuple[str, ...]
    next: str | None
    missing: tuple[int, ...]
