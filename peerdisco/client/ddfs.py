"""`DDFS`: the replicated file system, as seen by a program.

A blob is immutable bytes; a tag is a named, mutable list of blobs and of other tags, newest first.
Methods have Disco's names. Those about tags alone are in `tags.py`; how inputs become chunks is in
`chunking.py`; the same methods for asyncio are in `async_ddfs.py`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from peerdisco.client.chunks import CHUNK_BYTES, LINE_BYTES_MAX, Piece, whole
from peerdisco.client.names import BLOB_SCHEME
from peerdisco.client.remote_file import RemoteFile
from peerdisco.client.sources import File, Source, sources_of
from peerdisco.client.tagnames import TagLike, istag, parse_tag
from peerdisco.client.tags import TagMethods
from peerdisco.client.upload import upload
from peerdisco_webui.messages import TagView

if TYPE_CHECKING:
    from peerdisco.client.chunking import Reader

COPY_BYTES = 1 << 20
GZIP_LEVEL = 2
RESULTS_TAG = "disco:job:results:"

Stored = tuple[TagView, list[list[str]]]
"""The tag, and the entries that were put in front of it."""


class DDFS(TagMethods):
    """The file system of one cluster; see TagMethods for the arguments and the errors."""

    def push(
        self,
        tag: TagLike,
        files: File | Iterable[File],
        *,
        replicas: int | None = None,
        update: bool = False,
        delayed: bool = False,
        token: str | None = None,
    ) -> Stored:
        """Store each file as one blob, as it is, and put all in front of the tag."""
        ref = parse_tag(tag)
        with ExitStack() as spools:
            pieces = [
                spools.enter_context(_Whole(self, source)) for source in sources_of(_listed(files))
            ]
            blobs = upload(self.cluster, pieces, replicas=replicas, tag=ref.name)
        urls = [[blob.url] for blob in blobs]
        proof = self.write_token(ref, token)
        view = self.cluster.append(ref.name, urls, unique=update, delayed=delayed, token=proof)
        return view, urls

    def chunk(
        self,
        tag: TagLike,
        files: File | Iterable[File],
        *,
        replicas: int | None = None,
        reader: Reader | None = None,
        chunk_size: int = CHUNK_BYTES,
        max_record_size: int = LINE_BYTES_MAX,
        format: str = "zstd",  # noqa: A002 - the word of the field
        update: bool = False,
        delayed: bool = False,
        token: str | None = None,
    ) -> Stored:
        """Cut inputs into chunks of about `chunk_size` bytes and put all in front of the tag.

        Each chunk becomes a map task of its own; no record is ever split. Inputs may be compressed
        (gzip, bzip2, xz, zstd) and are read as what is in them.

        Args:
            tag: Where to put the chunks.
            files: Paths, URLs (blob:, tag://, http://, https://, file://) and open binary files.
                A tag stands for the blobs in it.
            replicas: Copies of each chunk; None for the cluster's own number.
            reader: Yields records, as a map_reader does; None for lines.
            chunk_size: In bytes before compression; of format `disco` after it, as in Disco.
            max_record_size: A longer record is an error, which says where it is.
            format: `zstd`, `plain` or `disco`; see `peerdisco.client.chunking`.
            update: Leave out chunks that the tag has already.
            delayed: See `tag`.
            token: See TagMethods.
        """
        from peerdisco.client.chunking import Chunking, Format, store  # loads what decompresses

        ref = parse_tag(tag)
        chunking = Chunking(Format.of(format), reader, chunk_size, max_record_size)
        sources = sources_of(self._expanded(_listed(files)))
        blobs = store(self.cluster, sources, chunking, replicas=replicas, tag=ref.name)
        urls = [[blob.url] for blob in blobs]
        proof = self.write_token(ref, token)
        view = self.cluster.append(ref.name, urls, unique=update, delayed=delayed, token=proof)
        return view, urls

    def pull(
        self,
        tag: TagLike,
        blobfilter: Callable[[str], bool] = lambda _: True,
        *,
        token: str | None = None,
    ) -> Iterator[RemoteFile]:
        """Each blob of a tag as an open binary file with a `url`; closed when the next is taken.

        The bytes are those that were stored: of a chunk, `peerdisco.dataflow.read_records` reads
        the records.
        """
        for replicas in self.blobs(tag, token=token):
            if replicas[0].startswith(BLOB_SCHEME) and blobfilter(replicas[0]):
                with self.cluster.open_blob(replicas[0].removeprefix(BLOB_SCHEME)) as file:
                    yield file

    def _expanded(self, files: list[File]) -> list[File]:
        """Inputs with the blobs of tags in their places."""
        expanded: list[File] = []
        for file in files:
            if isinstance(file, str) and istag(file):
                expanded += [replicas[0] for replicas in self.blobs(file, ignore_missing=False)]
            else:
                expanded.append(file)
        return expanded

    def save(self, jobname: str, files: File | Iterable[File], *, token: str | None = None) -> str:
        """Store files under the tag of a job's saved results; the tag's name."""
        name = self.job_tag(jobname)
        self.push(name, files, token=token)
        return name

    @classmethod
    def tarblobs(
        cls, tarball: str | Path, *, compress: bool = True, include: str = "", exclude: str = ""
    ) -> Iterator[IO[bytes]]:
        """The files in a tar archive, each open and named, as `push` takes them.

        Args:
            tarball: The archive, compressed or not.
            compress: Whether to compress each file with gzip.
            include: Only files with this in their names.
            exclude: No files with this in their names.
        """
        import tarfile

        with tarfile.open(tarball) as archive:
            for member in archive:
                wanted = include in member.name and not (exclude and exclude in member.name)
                content = archive.extractfile(member) if member.isfile() and wanted else None
                if content is not None:
                    name = cls.safe_name(member.name) + ("_gz" if compress else "")
                    yield _spooled(content, name, compress=compress)

    @classmethod
    def safe_name(cls, name: str) -> str:
        """A name with everything replaced that Disco's names may not have."""
        return re.sub(r"[^A-Za-z0-9_\-@:]", "_", name)

    @classmethod
    def blob_name(cls, url: str) -> str:
        """The name of the blob in a URL, without directories and timestamp."""
        return url.rpartition("/")[2].partition("$")[0].removeprefix(BLOB_SCHEME)

    @classmethod
    def job_tag(cls, jobname: str) -> str:
        """Where `save` puts what belongs to a job."""
        return RESULTS_TAG + jobname


def _listed(files: File | Iterable[File]) -> list[File]:
    single = isinstance(files, str | Path) or hasattr(files, "read")
    return [cast("File", files)] if single else list(cast("Iterable[File]", files))


class _Whole:
    """A source as one piece of a file: what cannot be read twice is spooled while it is needed."""

    def __init__(self, ddfs: DDFS, source: Source) -> None:
        self._ddfs = ddfs
        self._source = source
        self._spool: IO[bytes] | None = None

    def __enter__(self) -> Piece:
        if self._source.path is not None:
            return whole(self._source.path)
        self._spool = tempfile.NamedTemporaryFile(prefix="peerdisco-")
        with self._source.open(self._ddfs.cluster) as file:
            while block := file.read(COPY_BYTES):
                self._spool.write(block)
        self._spool.flush()
        return whole(Path(self._spool.name))

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()


def _spooled(content: IO[bytes], name: str, *, compress: bool) -> IO[bytes]:
    import gzip

    spool = tempfile.NamedTemporaryFile(prefix="peerdisco-")  # noqa: SIM115 - the caller's to close
    target = gzip.GzipFile(name, "wb", GZIP_LEVEL, spool) if compress else spool
    while block := content.read(COPY_BYTES):
        target.write(block)
    if compress:
        target.close()
    spool.seek(0)
    spool.name = name
    return cast("IO[bytes]", spool)
