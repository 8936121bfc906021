"""Sends pieces of files as blobs, a few at a time, in order of the pieces."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from peerdisco.client.chunks import Piece
from peerdisco.client.cluster import Cluster
from peerdisco_webui.messages import BlobView

UPLOADS_MAX = 4


def upload(
    cluster: Cluster,
    pieces: Iterable[Piece],
    *,
    replicas: int | None = None,
    owner: str = "",
    tag: str = "",
) -> list[BlobView]:
    """Store each piece as a blob. The first failure is raised; what was stored stays unnamed."""

    def put(piece: Piece) -> BlobView:
        return cluster.put_blob(piece.open, replicas=replicas, owner=owner, tag=tag)

    listed = list(pieces)
    if len(listed) <= 1:
        return [put(piece) for piece in listed]
    with ThreadPoolExecutor(UPLOADS_MAX, thread_name_prefix="peerdisco-upload") as pool:
        futures = [pool.submit(put, piece) for piece in listed]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
