"""`DDFS`: the replicated file system, as seen by a program.

A blob is immutable bytes; a tag is a named list of blobs and of other tags, newest first. Whatever
takes a tag takes its name or `tag://name`.
"""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from peerdisco.client.chunks import CHUNK_BYTES, Piece, cut, spooled, whole
from peerdisco.client.errors import NotFound
from peerdisco.client.names import BLOB_SCHEME, TAG_SCHEME
from peerdisco.client.remote_file import RemoteFile
from peerdisco.client.resolve import Peer, connect
from peerdisco.client.results import expand
from peerdisco.client.upload import upload
from peerdisco_webui.messages import TagView

LIST_PAGE = 10_000
"""Names asked for at a time."""
File = str | Path | IO[bytes]
"""What can be pushed: a path, or an open binary file."""


class DDFS:
    """The file system of one cluster.

    Args:
        peer: `host:port` of any node, or a client string; see `peerdisco.client.resolve`.

    Methods that read a tag raise NotFound when there is none; all raise NoCluster, Unavailable
    and Refused.
    """

    def __init__(self, peer: Peer = None) -> None:
        self.cluster = connect(peer)

    def push(
        self, tag: str, files: Iterable[File], *, replicas: int | None = None
    ) -> tuple[TagView, list[list[str]]]:
        """Store each file as one blob and put all in front of the tag; the tag and the new URLs."""
        return self._store(tag, files, lambda path: [whole(path)], replicas)

    def chunk(
        self,
        tag: str,
        files: Iterable[File],
        *,
        replicas: int | None = None,
        chunk_size: int = CHUNK_BYTES,
    ) -> tuple[TagView, list[list[str]]]:
        """Like `push`, with texts cut on line ends into blobs of about `chunk_size` bytes.

        Each blob becomes a map task of its own; no line is ever split.
        """
        return self._store(tag, files, lambda path: cut(path, chunk_size), replicas)

    def tag(
        self, tag: str, urls: Iterable[str | Sequence[str]], *, update: bool = False
    ) -> TagView:
        """Put URLs in front of a tag; with `update` only those that it lacks."""
        return self.cluster.append(_name(tag), _replica_lists(urls), unique=update)

    def put(self, tag: str, urls: Iterable[str | Sequence[str]]) -> TagView:
        """Exchange all URLs of a tag."""
        return self.cluster.replace(_name(tag), _replica_lists(urls))

    def get(self, tag: str) -> TagView:
        """The tag itself."""
        return self.cluster.tag(_name(tag))

    def urls(self, tag: str) -> list[list[str]]:
        """The entries of a tag as they are, newest first."""
        return [list(replicas) for replicas in self.get(tag).urls]

    def blobs(self, tag: str) -> list[list[str]]:
        """The entries of a tag and of all tags that it names, newest first."""
        return list(expand(self.cluster, [TAG_SCHEME + _name(tag)]))

    def pull(
        self, tag: str, blobfilter: Callable[[str], bool] = lambda _: True
    ) -> Iterator[RemoteFile]:
        """Each blob of a tag as an open binary file with a `url`; closed when the next is taken."""
        for replicas in self.blobs(tag):
            if replicas[0].startswith(BLOB_SCHEME) and blobfilter(replicas[0]):
                with self.cluster.open_blob(replicas[0].removeprefix(BLOB_SCHEME)) as file:
                    yield file

    def list(self, prefix: str = "") -> Iterator[str]:
        """Names of tags that begin with a prefix, in order."""
        after = ""
        while True:
            page = self.cluster.tags(prefix=prefix, after=after, limit=LIST_PAGE)
            yield from page.names
            if not (after := page.next):
                return

    def exists(self, tag: str) -> bool:
        """Whether there is such a tag."""
        try:
            self.get(tag)
        except NotFound:
            return False
        return True

    def delete(self, tag: str) -> None:
        """Delete a tag; its blobs go when no other tag names them. A missing one is no error."""
        self.cluster.delete_tag(_name(tag))

    def attrs(self, tag: str) -> dict[str, str]:
        """All attributes of a tag."""
        return dict(self.get(tag).attributes)

    def getattr(self, tag: str, attribute: str) -> str:
        """One attribute of a tag. Raises NotFound when it is not set."""
        attributes = self.attrs(tag)
        if attribute not in attributes:
            raise NotFound(404, f"the tag {_name(tag)} has no attribute {attribute}")
        return attributes[attribute]

    def setattr(self, tag: str, attribute: str, value: str) -> None:
        """Set an attribute of a tag."""
        self.cluster.set_attribute(_name(tag), attribute, value)

    def delattr(self, tag: str, attribute: str) -> None:
        """Delete an attribute of a tag."""
        self.cluster.delete_attribute(_name(tag), attribute)

    def _store(
        self,
        tag: str,
        files: Iterable[File],
        pieces_of: Callable[[Path], Iterable[Piece]],
        replicas: int | None,
    ) -> tuple[TagView, builtins.list[builtins.list[str]]]:
        listed = [files] if isinstance(files, str | Path | io.IOBase) else files
        with ExitStack() as spools:
            paths = [
                Path(file) if isinstance(file, str | Path) else spools.enter_context(spooled(file))
                for file in listed
            ]
            pieces = [piece for path in paths for piece in pieces_of(path)]
            urls = [[blob.url] for blob in upload(self.cluster, pieces, replicas=replicas)]
        return self.cluster.append(_name(tag), urls), urls


def _name(tag: str) -> str:
    return tag.removeprefix(TAG_SCHEME)


def _replica_lists(urls: Iterable[str | Sequence[str]]) -> list[list[str]]:
    return [[entry] if isinstance(entry, str) else list(entry) for entry in urls]
