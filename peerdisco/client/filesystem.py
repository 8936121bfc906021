"""`ddfs://` for fsspec, so that what reads or writes fsspec's files reads and writes tags.

    fsspec.open("ddfs://logs/2026", "rt")        pandas.read_csv("ddfs://table.csv")

A tag is a file. Its colons are slashes and its @ are dots, since tags have neither of these:
`ddfs://logs/2026.csv` is the tag `logs:2026@csv`, and `logs` is a directory as long as some tag
lies in it. What a file holds is said in `parts.py`. A file that is written replaces its tag when
it is closed, not before; one whose `with` block fails changes nothing. Which cluster: `peer=`, as
everywhere; `token=` for tags that have one.

Install `peerdisco[fsspec]`. Names that begin or end with a colon cannot be reached this way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from peerdisco.client.chunks import whole
from peerdisco.client.ddfs import DDFS
from peerdisco.client.errors import NotFound
from peerdisco.client.names import BLOB_SCHEME
from peerdisco.client.parts import Parts, Whole
from peerdisco_webui.messages import TagView

PROTOCOL = "ddfs"
_TO_PATH, _TO_TAG = str.maketrans(":@", "/."), str.maketrans("/.", ":@")
EXCLUSIVE, WRITE, READ = "xb", "wb", "rb"


class DDFSFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The tags of a cluster as files.

    Args:
        peer: `host:port` of any node, or a client string; see `peerdisco.client.resolve`.
        token: A token of tags.
    """

    protocol = PROTOCOL
    root_marker = ""

    def __init__(self, peer: str | None = None, token: str | None = None, **options: Any) -> None:
        super().__init__(peer=peer, token=token, **options)
        self.ddfs = DDFS(peer, token=token)
        self._parts = Parts(self.ddfs.cluster)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = str(path).removeprefix(f"{PROTOCOL}://")
        return text.translate(_TO_PATH).strip("/")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """A file with its size, version, owner and time, or a directory."""
        path = self._strip_protocol(path)
        if path:
            try:
                tag = self.ddfs.get(_tag(path))
            except NotFound:
                pass
            else:
                return _file(path, self._whole(tag).size, tag)
        if path and not any(True for _ in self._below(path)):
            raise FileNotFoundError(f"there is no tag {_tag(path)!r}")
        return _directory(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is directly below a path; sizes of files are not looked up (`info` does)."""
        path = self._strip_protocol(path)
        found: dict[str, dict[str, Any]] = {}
        start = len(path) + 1 if path else 0
        for name in self._below(path):
            child, slash, _rest = name[start:].partition("/")
            child = name[:start] + child
            if not slash:
                found[child] = {"name": child, "size": None, "type": "file"}
            else:
                found.setdefault(child, _directory(child))
        if not found and path:
            found[path] = self.info(path)
        entries = [found[name] for name in sorted(found)]
        return entries if detail else [entry["name"] for entry in entries]

    def _below(self, path: str) -> Iterator[str]:
        """Paths of all tags below one."""
        prefix = f"{_tag(path)}:" if path else ""
        return (self._strip_protocol(name) for name in self.ddfs.list(prefix))

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a file or directory; a tag exists without its token too."""
        path = self._strip_protocol(path)
        if not path or self.ddfs.exists(_tag(path)):
            return True
        return any(True for _ in self._below(path))

    def created(self, path: str) -> datetime:
        """When the tag was changed: it remembers no other time."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """When the tag was changed."""
        tag = self.ddfs.get(_tag(self._strip_protocol(path)))
        return datetime.fromtimestamp(tag.modified, UTC)

    def ukey(self, path: str) -> str:
        """Changes with every change of the tag."""
        return str(self.ddfs.get(_tag(self._strip_protocol(path))).version)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Let a tag have the entries of another; no byte moves."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        self.ddfs.put(_tag(target), self.ddfs.urls(_tag(source)))

    def rm_file(self, path: str) -> None:
        """Delete the tag."""
        path = self._strip_protocol(path)
        if self.ddfs.exists(_tag(path)):
            self.ddfs.delete(_tag(path))
        elif self.exists(path):
            raise IsADirectoryError(f"{path} is no tag, but others lie in it")
        else:
            raise FileNotFoundError(f"there is no tag {_tag(path)!r}")

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete tags; a directory goes with what is in it, and only if that is asked for."""
        for found in self.expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if not recursive or self.ddfs.exists(_tag(found)):
                self.rm_file(found)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Nothing: directories are there when something is in them."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing, as `mkdir`."""

    def rmdir(self, path: str) -> None:
        """Nothing, as `mkdir`."""

    def open_whole(self, path: str) -> tuple[Whole, dict[str, Any]]:
        """What a file holds, as of now, and its `info`."""
        path = self._strip_protocol(path)
        try:
            tag = self.ddfs.get(_tag(path))
        except NotFound as error:
            raise FileNotFoundError(f"there is no tag {_tag(path)!r}") from error
        content = self._whole(tag)
        return content, _file(path, content.size, tag)

    def _whole(self, tag: TagView) -> Whole:
        return self._parts.of(self.ddfs.blobs_of(tag))

    def _open(self, path: str, mode: str = READ, **options: Any) -> DDFSFile:
        if mode not in (READ, WRITE, EXCLUSIVE):
            raise ValueError(
                f"files of DDFS are read or replaced as a whole, not opened as {mode!r}"
            )
        return DDFSFile(self, path, mode, **options)


class DDFSFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """One file: read in ranges through fsspec's block cache, or written to be a tag on close."""

    def __init__(self, fs: DDFSFileSystem, path: str, mode: str, **options: Any) -> None:
        self._spool: IO[bytes] | None = None
        if mode == READ:
            self._content, self._details = fs.open_whole(path)
            options["size"] = self._content.size
        options["block_size"] = options.get("block_size") or "default"
        super().__init__(fs, path, mode, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._content.read(start, end)

    def _initiate_upload(self) -> None:
        self._spool = tempfile.NamedTemporaryFile(prefix="peerdisco-")  # noqa: SIM115 - until close

    def _upload_chunk(self, final: bool = False) -> bool:
        assert self._spool is not None
        self._spool.write(self.buffer.getvalue())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Store the bytes and let the tag name them."""
        assert self._spool is not None
        self._spool.flush()
        cluster, tag = self.fs.ddfs.cluster, _tag(self.path)
        with self._spool as spool:
            blob = cluster.put_blob(whole(Path(spool.name)).open)
        expected = 0 if self.mode == EXCLUSIVE else None
        self.fs.ddfs.put(tag, [BLOB_SCHEME + blob.id], if_version=expected)

    def discard(self) -> None:
        """Forget what was written; the tag stays as it is."""
        if self._spool is not None:
            self._spool.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self.mode != READ:
            self.discard()
            self.closed = True
        super().__exit__(kind, error, trace)


def _tag(path: str) -> str:
    return path.translate(_TO_TAG)


def _file(path: str, size: int, tag: TagView) -> dict[str, Any]:
    return {
        "name": path,
        "size": size,
        "type": "file",
        "version": tag.version,
        "owner": tag.owner,
        "modified": datetime.fromtimestamp(tag.modified, UTC),
    }


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}
