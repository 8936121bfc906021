"""Tags as a program sees them: the half of `DDFS` that moves no bytes.

What takes a tag takes all that `peerdisco.client.tagnames` understands. The methods have Disco's
names.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence

from peerdisco.client.errors import NotFound, Refused, TokenNeeded, Unavailable
from peerdisco.client.names import TAG_SCHEME
from peerdisco.client.resolve import Peer, connect
from peerdisco.client.tagnames import TagLike, TagRef, default_token, parse_tag
from peerdisco.client.walking import Visit, expand, find_tags, walk
from peerdisco_webui.messages import TagHistory, TagTokenKind, TagView

LIST_PAGE = 10_000
"""Names asked for at a time."""
TOKENS = {"ddfs:read-token": TagTokenKind.READ, "ddfs:write-token": TagTokenKind.WRITE}
URLS_ATTRIBUTE = "ddfs:urls"
"""Attributes that stand for something else, as in Disco."""

Urls = Iterable[str | Sequence[str]]
"""Entries of a tag: a URL, or the URLs of the replicas of one thing."""


class TagMethods:
    """All that concerns tags; `DDFS` adds the ways in and out of blobs.

    Args:
        peer: `host:port` of any node, or a client string; see `peerdisco.client.resolve`.
        token: A token of tags for calls that are given none of their own. Without it the
            environment's DDFS_READ_TOKEN and DDFS_WRITE_TOKEN are.

    A `token` of a call, or one in a tag's URL, goes before these. TokenNeeded is raised where none
    fits, NotFound for tags that do not exist, InvalidTag for what names none; all methods raise
    NoCluster, Unavailable and Refused.
    """

    def __init__(self, peer: Peer = None, *, token: str | None = None) -> None:
        self.cluster = connect(peer)
        self._token = token

    def tag(
        self,
        tag: TagLike,
        urls: Urls,
        *,
        update: bool = False,
        delayed: bool = False,
        if_version: int | None = None,
        token: str | None = None,
    ) -> TagView:
        """Put URLs in front of a tag; with `update` only those that it lacks.

        With `delayed` the call may wait a second for others to the same tag, which spares work;
        with `if_version` it is refused unless that is the tag's version (0: none).
        """
        ref = parse_tag(tag)
        return self.cluster.append(
            ref.name,
            replica_lists(urls),
            unique=update,
            delayed=delayed,
            if_version=if_version,
            token=self.write_token(ref, token),
        )

    def put(
        self,
        tag: TagLike,
        urls: Urls,
        *,
        if_version: int | None = None,
        token: str | None = None,
    ) -> TagView:
        """Exchange all URLs of a tag; with `if_version` only if that is its version (0: none)."""
        ref = parse_tag(tag)
        return self.cluster.replace(
            ref.name,
            replica_lists(urls),
            if_version=if_version,
            token=self.write_token(ref, token),
        )

    def get(self, tag: TagLike, *, token: str | None = None) -> TagView:
        """The tag itself."""
        ref = parse_tag(tag)
        return self.cluster.tag(ref.name, token=self.read_token(ref, token))

    def history(self, tag: TagLike, *, token: str | None = None) -> TagHistory:
        """The last changes of a tag: when, who, what."""
        ref = parse_tag(tag)
        return self.cluster.tag_history(ref.name, token=self.read_token(ref, token))

    def urls(self, tag: TagLike, *, token: str | None = None) -> list[list[str]]:
        """The entries of a tag as they are, newest first."""
        return [list(replicas) for replicas in self.get(tag, token=token).urls]

    def blobs(
        self, tag: TagLike, *, ignore_missing: bool = True, token: str | None = None
    ) -> list[list[str]]:
        """The entries of a tag and of all tags that it names, newest first.

        The tag itself must exist; with `ignore_missing` those that it names need not.
        """
        ref = parse_tag(tag)
        proof = self.read_token(ref, token)
        view = self.cluster.tag(ref.name, token=proof)
        return self.blobs_of(view, ignore_missing=ignore_missing, token=proof)

    def blobs_of(
        self, view: TagView, *, ignore_missing: bool = True, token: str | None = None
    ) -> list[list[str]]:
        """Like `blobs`, of a tag that was read already."""
        return list(
            expand(
                self.cluster,
                view.urls,
                token=self.read_token(TagRef(view.name), token),
                ignore_missing=ignore_missing,
                above=frozenset([view.name]),
            )
        )

    def walk(
        self, tag: TagLike, *, ignore_missing: bool = True, token: str | None = None
    ) -> Iterator[Visit]:
        """(tags from the root to this one, the tags it names, its blobs), depth first."""
        ref = parse_tag(tag)
        proof = self.read_token(ref, token)
        return walk(self.cluster, ref.name, token=proof, ignore_missing=ignore_missing)

    def findtags(
        self, tags: TagLike, *, ignore_missing: bool = True, token: str | None = None
    ) -> Iterator[tuple[str, builtins.list[str], builtins.list[builtins.list[str]]]]:
        """(tag, the tags it names, its blobs) of all tags that can be reached, each once."""
        refs = [parse_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags)]
        proof = self.read_token(refs[0], token) if refs else None
        names = [ref.name for ref in refs]
        return find_tags(self.cluster, names, token=proof, ignore_missing=ignore_missing)

    def list(self, prefix: str = "", *, partial_ok: bool = False) -> Iterator[str]:
        """Names of tags that begin with a prefix, in order.

        Raises Unavailable at the end when a part of the key space did not answer, so that a short
        list never looks complete, unless `partial_ok` accepts that.
        """
        after, missing = "", 0
        while True:
            page = self.cluster.tags(prefix=prefix, after=after, limit=LIST_PAGE)
            missing = max(missing, page.missing)
            yield from page.names
            if not (after := page.next):
                break
        if missing and not partial_ok:
            raise Unavailable(
                f"the nodes that keep {missing} of 4096 parts of the key space do not answer, so "
                "names may be missing"
            )

    def exists(self, tag: TagLike, *, token: str | None = None) -> bool:
        """Whether there is such a tag, also one that needs a token we do not have."""
        try:
            self.get(tag, token=token)
        except NotFound:
            return False
        except TokenNeeded:
            return True
        return True

    def delete(self, tag: TagLike, *, token: str | None = None) -> None:
        """Delete a tag; its blobs go when no other tag names them. A missing one is no error."""
        ref = parse_tag(tag)
        self.cluster.delete_tag(ref.name, token=self.write_token(ref, token))

    def attrs(self, tag: TagLike, *, token: str | None = None) -> dict[str, str]:
        """All attributes of a tag."""
        return dict(self.get(tag, token=token).attributes)

    def getattr(self, tag: TagLike, attribute: str, *, token: str | None = None) -> str:
        """One attribute of a tag. Raises NotFound when it is not set, Refused for a token."""
        if attribute in TOKENS:
            raise Refused(403, "tokens are kept as hashes, so nobody can read them back")
        attributes = self.attrs(tag, token=token)
        if attribute not in attributes:
            raise NotFound(404, f"the tag {parse_tag(tag).name} has no attribute {attribute}")
        return attributes[attribute]

    def setattr(
        self, tag: TagLike, attribute: str, value: str, *, token: str | None = None
    ) -> None:
        """Set an attribute of a tag; `ddfs:read-token` and `ddfs:write-token` are its tokens."""
        ref = parse_tag(tag)
        proof = self.write_token(ref, token)
        if attribute in TOKENS:
            self.cluster.set_token(ref.name, TOKENS[attribute], value, token=proof)
        else:
            self.cluster.set_attribute(ref.name, attribute, value, token=proof)

    def delattr(self, tag: TagLike, attribute: str, *, token: str | None = None) -> None:
        """Delete an attribute of a tag, or remove one of its tokens."""
        ref = parse_tag(tag)
        proof = self.write_token(ref, token)
        if attribute in TOKENS:
            self.cluster.set_token(ref.name, TOKENS[attribute], None, token=proof)
        else:
            self.cluster.delete_attribute(ref.name, attribute, token=proof)

    def read_token(self, ref: TagRef, token: str | None) -> str | None:
        """What to prove the right to read a tag with."""
        return self._proof(ref, token, write=False)

    def write_token(self, ref: TagRef, token: str | None) -> str | None:
        """What to prove the right to change a tag with."""
        return self._proof(ref, token, write=True)

    def _proof(self, ref: TagRef, token: str | None, *, write: bool) -> str | None:
        for candidate in (token, ref.token, self._token):
            if candidate is not None:
                return candidate
        return default_token(write=write)


def replica_lists(urls: Urls) -> list[list[str]]:
    """Entries as lists of URLs; a tag's token in one of them does not go along."""
    lists = [[entry] if isinstance(entry, str) else list(entry) for entry in urls]
    return [[_public(url) for url in replicas] for replicas in lists]


def _public(url: str) -> str:
    return TAG_SCHEME + parse_tag(url).name if url.startswith(TAG_SCHEME) else url
