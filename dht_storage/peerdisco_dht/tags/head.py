"""The head of a tag and what its operations do to it: pure.

A tag is a list of entries, newest first; an entry is the URLs of the replicas of one thing, as in
Disco. The head holds the newest entries itself and names immutable segment blobs for the older
ones, so that an append rewrites a little and never the whole tag. `Seal` replaces a run of entries
by a segment with the same content; users cannot see it.

Who sends these actions is in `tags.py`; when a tag is sealed, in `sealing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from peerdisco_dht.errors import BadName, Limit
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.registers.value import Change, Keep, Refuse, Verdict
from peerdisco_dht.tags.tokens import NO_CLAIM, Claim, Secret, TokenKind, may_write

TAIL_MAX = 256
"""Entries that a head holds before the oldest of them are sealed into a segment."""
SEGMENT_ENTRIES_MAX = 4096
SEGMENT_CHARACTERS_MAX = 8 << 20
"""A segment ends with the entry that brings its URLs over this; readers take far more."""
ITEMS_MAX = 8192
"""Items (entries and segments) beyond which a head refuses to grow until it is sealed."""
ATTRIBUTES_MAX = 1000
ATTRIBUTE_NAME_BYTES_MAX = 1024
ATTRIBUTE_VALUE_BYTES_MAX = 4096
NAME_MAX = 511
HISTORY_MAX = 32
"""Changes that a tag remembers."""
DETAIL_CHARACTERS_MAX = 80

_DISCO_BLOB = re.compile(r"disco://[^/]+/ddfs/[^/]+/blob/[^/]+/([^/$]+)\$[^/$]*")
_NAME = re.compile(rf"[A-Za-z0-9_\-@:]{{1,{NAME_MAX}}}")

Urls = tuple[str, ...]


class Entry(Message, frozen=True, array_like=True, tag="e"):
    """One entry: the URLs of its replicas."""

    urls: Urls


class Segment(Message, frozen=True, array_like=True, tag="s"):
    """A run of entries that lies in a blob.

    Attributes:
        blob: Id of the blob; it holds an encoded SegmentContent.
        count: Number of entries.
    """

    blob: str
    count: int


Item = Entry | Segment


class SegmentContent(Message, frozen=True, array_like=True):
    """What a segment blob holds: entries, newest first."""

    entries: tuple[Urls, ...]


class Event(Message, frozen=True, array_like=True):
    """One change of a tag, for its history.

    Attributes:
        version: The version that it made.
        at: Wall time, for people.
        by: Who made it, as the caller said.
        what: `append`, `replace`, `attribute` or `token`.
        entries: How many entries were put in.
        detail: Which attribute or token was set, or removed: then it begins with a minus.
    """

    version: int
    at: float
    by: str
    what: str
    entries: int = 0
    detail: str = ""


class TagHead(Message, frozen=True, array_like=True):
    """The content of a tag's register.

    Attributes:
        items: Newest first.
        attributes: What users attached, by name.
        modified: Wall time of the last visible change, for people.
        owner: Who created the tag, as the caller said.
        read_token: What a reader must know; None lets everybody read.
        write_token: What a writer must know; None lets everybody write.
        history: The last changes, newest first.
    """

    items: tuple[Item, ...] = ()
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    modified: float = 0.0
    owner: str = ""
    read_token: Secret | None = None
    write_token: Secret | None = None
    history: tuple[Event, ...] = ()


class Append(Message, frozen=True, array_like=True, tag="append"):
    """Put items before all others; creates the tag. Appending nothing to a tag is no change.

    Attributes:
        items: Newest first.
        at: Wall time, for people.
        if_version: Only if the tag has this version (0: does not exist).
        claim: Who asks.
    """

    items: tuple[Item, ...]
    at: float
    if_version: int | None = None
    claim: Claim = NO_CLAIM


class Replace(Message, frozen=True, array_like=True, tag="replace"):
    """Put items in place of all others; creates the tag and keeps its attributes."""

    items: tuple[Item, ...]
    at: float
    if_version: int | None = None
    claim: Claim = NO_CLAIM


class DeleteTag(Message, frozen=True, array_like=True, tag="delete"):
    """Let the tag exist no more; a later append starts a fresh one.

    Attributes:
        claim: Who asks.
        if_version: Only if the tag has this version (0: does not exist).
    """

    claim: Claim = NO_CLAIM
    if_version: int | None = None


class SetAttribute(Message, frozen=True, array_like=True, tag="attribute"):
    """Set an attribute of an existing tag, or remove it with None."""

    name: str
    value: str | None
    at: float
    claim: Claim = NO_CLAIM


class SetToken(Message, frozen=True, array_like=True, tag="token"):
    """Set a token of an existing tag, or remove it with None."""

    kind: TokenKind
    secret: Secret | None
    at: float
    claim: Claim = NO_CLAIM


class Seal(Message, frozen=True, array_like=True, tag="seal"):
    """Replace a run of entries by a segment with the same content.

    Attributes:
        behind: How many items are behind the run, that is older.
        run: The entries; the head must still hold exactly these there.
        segment: What replaces them.
    """

    behind: int
    run: tuple[Urls, ...]
    segment: Segment


Write = Append | Replace | DeleteTag | SetAttribute | SetToken
"""What callers ask for."""
Action = Write | Seal

NO_SUCH_TAG = "no such tag"
DENIED = "denied"
CONFLICT = "conflict"
LIMIT = "limit"
"""What a refusal's reason begins with."""


def check_name(name: str) -> str:
    """The name, if a tag may have it; raises BadName."""
    if not _NAME.fullmatch(name):
        raise BadName(f"tag names are 1 to {NAME_MAX} of A-Z a-z 0-9 _ - @ : and not {name!r:.80}")
    return name


def check_attribute(name: str, value: str) -> None:
    """Raises BadName or Limit when an attribute breaks the rules."""
    size = len(name.encode())
    if not 0 < size <= ATTRIBUTE_NAME_BYTES_MAX:
        raise BadName(f"attribute names have 1 to {ATTRIBUTE_NAME_BYTES_MAX} bytes")
    if len(value.encode()) > ATTRIBUTE_VALUE_BYTES_MAX:
        raise Limit(f"attribute values have at most {ATTRIBUTE_VALUE_BYTES_MAX} bytes")


class TagKind:
    """Meaning of registers that are tags."""

    def load(self, data: bytes) -> object:
        """The head in its bytes."""
        return decode(data, TagHead)

    def dump(self, content: object) -> bytes:
        """The bytes of a head."""
        return encode(content)

    def apply(self, content: object | None, version: int, action: bytes) -> Verdict:
        """What an action does to a head."""
        assert content is None or isinstance(content, TagHead)
        request: Action = decode(action, Action)  # type: ignore[arg-type]  # mypy has no type of union types
        if content is not None and not _allowed(content, request):
            return Refuse(DENIED)
        match request:
            case Append():
                return _append(content, version, request)
            case Replace():
                return _replace(content, version, request)
            case DeleteTag():
                return _delete(content, version, request)
            case SetAttribute():
                return _set_attribute(content, version, request)
            case SetToken():
                return _set_token(content, version, request)
            case Seal():
                return _seal(content, request)


def _allowed(head: TagHead, request: Action) -> bool:
    return isinstance(request, Seal) or may_write(head, request.claim.token)


def _append(head: TagHead | None, version: int, request: Append) -> Verdict:
    refusal = _check_version(head, version, request.if_version)
    if refusal is not None:
        return refusal
    if head is not None and not request.items:
        return Keep()
    head = head or _created(request.claim)
    items = (*request.items, *head.items)
    if len(items) > ITEMS_MAX:
        return Refuse(f"{LIMIT}: the tag grows faster than it can be sealed")
    event = _event(version, request, "append", entries=count(request.items))
    return _changed(head, event, items=items)


def _replace(head: TagHead | None, version: int, request: Replace) -> Verdict:
    refusal = _check_version(head, version, request.if_version)
    if refusal is not None:
        return refusal
    if len(request.items) > ITEMS_MAX:
        return Refuse(f"{LIMIT}: too many items")
    event = _event(version, request, "replace", entries=count(request.items))
    return _changed(head or _created(request.claim), event, items=request.items)


def _delete(head: TagHead | None, version: int, request: DeleteTag) -> Verdict:
    refusal = _check_version(head, version, request.if_version)
    if refusal is not None:
        return refusal
    return Keep() if head is None else Change(None)


def _created(claim: Claim) -> TagHead:
    """A new tag: the token of whoever creates it becomes both of its tokens."""
    return TagHead(owner=claim.name, read_token=claim.secret, write_token=claim.secret)


def _event(
    version: int,
    request: Append | Replace | SetAttribute | SetToken,
    what: str,
    *,
    entries: int = 0,
    detail: str = "",
) -> Event:
    return Event(version + 1, request.at, request.claim.name, what, entries, detail)


def _changed(head: TagHead, event: Event, **fields: object) -> Change:
    """The change of some fields, noted in the history."""
    history = (event, *head.history[: HISTORY_MAX - 1])
    fields |= {"modified": event.at, "history": history}
    return Change(msgspec.structs.replace(head, **fields))


def _check_version(head: TagHead | None, version: int, expected: int | None) -> Refuse | None:
    standing = version if head is not None else 0
    if expected is None or expected == standing:
        return None
    return Refuse(f"{CONFLICT}: the version is {standing}, not {expected}")


def _set_attribute(head: TagHead | None, version: int, request: SetAttribute) -> Verdict:
    if head is None:
        return Refuse(NO_SUCH_TAG)
    attributes = dict(head.attributes)
    if request.value is None:
        if attributes.pop(request.name, None) is None:
            return Keep()
    else:
        try:
            check_attribute(request.name, request.value)
        except (BadName, Limit) as error:
            raise BadMessage(str(error)) from None
        attributes[request.name] = request.value
    if len(attributes) > ATTRIBUTES_MAX:
        return Refuse(f"{LIMIT}: a tag has at most {ATTRIBUTES_MAX} attributes")
    detail = request.name if request.value is not None else f"-{request.name}"
    event = _event(version, request, "attribute", detail=detail[:DETAIL_CHARACTERS_MAX])
    return _changed(head, event, attributes=attributes)


def _set_token(head: TagHead | None, version: int, request: SetToken) -> Verdict:
    if head is None:
        return Refuse(NO_SUCH_TAG)
    detail = request.kind.value if request.secret is not None else f"-{request.kind.value}"
    event = _event(version, request, "token", detail=detail)
    return _changed(head, event, **{f"{request.kind.value}_token": request.secret})


def _seal(head: TagHead | None, request: Seal) -> Verdict:
    if head is None:
        return Refuse(NO_SUCH_TAG)
    end = len(head.items) - request.behind
    start = end - len(request.run)
    run = tuple(Entry(urls) for urls in request.run)
    if start < 0 or not run or head.items[start:end] != run:
        return Refuse(f"{CONFLICT}: these entries are not there any more")
    items = (*head.items[:start], request.segment, *head.items[end:])
    return Change(msgspec.structs.replace(head, items=items), quiet=True)


def run_to_seal(head: TagHead) -> tuple[int, tuple[Urls, ...]] | None:
    """The oldest run of entries that is due to be sealed, and how many items are behind it.

    A run is due when the head holds more than TAIL_MAX entries; the newest few stay.
    """
    entries = sum(isinstance(item, Entry) for item in head.items)
    if entries <= TAIL_MAX:
        return None
    behind = characters = 0
    run: list[Urls] = []
    for item in reversed(head.items):
        room = len(run) < SEGMENT_ENTRIES_MAX and characters < SEGMENT_CHARACTERS_MAX
        if isinstance(item, Entry) and room:
            run.append(item.urls)
            characters += sum(map(len, item.urls))
        elif run:
            break
        else:
            behind += 1
    return behind, tuple(reversed(run))


def count(items: Sequence[Item]) -> int:
    """How many entries the items stand for."""
    return sum(item.count if isinstance(item, Segment) else 1 for item in items)


def entry_name(entry: Urls) -> object:
    """What makes an entry the same as another, for `append unique`.

    As in Disco: for one of its blobs the name without directories and timestamp, so that a second
    upload of the same file counts as the same; for a tag its name. Entries of other URLs are the
    same when all their URLs are.
    """
    for url in entry:
        blob = _DISCO_BLOB.fullmatch(url)
        if blob is not None:
            return blob[1]
    first = entry[0] if entry else ""
    return first if first.startswith(("blob:", "tag://")) else entry


def pack(urls: Sequence[Urls]) -> list[tuple[Urls, ...]]:
    """Entries cut into contents of segments, in order."""
    segments: list[tuple[Urls, ...]] = []
    run: list[Urls] = []
    characters = 0
    for entry in urls:
        run.append(entry)
        characters += sum(map(len, entry))
        if len(run) == SEGMENT_ENTRIES_MAX or characters >= SEGMENT_CHARACTERS_MAX:
            segments.append(tuple(run))
            run, characters = [], 0
    return [*segments, tuple(run)] if run else segments
