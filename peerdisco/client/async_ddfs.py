"""`AsyncDDFS`: the methods of `DDFS` for programs on asyncio.

There is one implementation, the threaded one. Each method here runs its namesake in a worker thread
of asyncio's, and what yields there is an asynchronous iterator here, one step ahead of nobody: the
next item is fetched when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from peerdisco.client.ddfs import DDFS
from peerdisco.client.resolve import Peer

P = ParamSpec("P")
T = TypeVar("T")


class _End:
    """What comes behind the last item."""


_END = _End()


async def _in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    import asyncio  # whoever calls this has it already; who only imports it needs none

    return await asyncio.to_thread(function, *args, **kwargs)


def _awaited(
    method: Callable[Concatenate[DDFS, P], T],
) -> Callable[Concatenate[AsyncDDFS, P], Coroutine[Any, Any, T]]:
    """The method as a coroutine."""

    async def run(self: AsyncDDFS, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_thread(method, self.sync, *args, **kwargs)

    run.__doc__ = method.__doc__
    run.__name__ = method.__name__
    return run


def _iterated(
    method: Callable[Concatenate[DDFS, P], Iterator[T]],
) -> Callable[Concatenate[AsyncDDFS, P], AsyncIterator[T]]:
    """The generator as an asynchronous one."""

    async def run(self: AsyncDDFS, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items: Iterator[T] = await _in_thread(method, self.sync, *args, **kwargs)
        try:
            while True:
                item: T | _End = await _in_thread(next, items, _END)
                if isinstance(item, _End):
                    return
                yield item
        finally:
            # A generator of another thread that is dropped half-way closes what it has open.
            close = getattr(items, "close", None)
            if close is not None:
                close()

    run.__doc__ = method.__doc__
    run.__name__ = method.__name__
    return run


class AsyncDDFS:
    """The file system of one cluster, for asyncio; the arguments are those of `DDFS`.

    Attributes:
        sync: The `DDFS` that does the work.
    """

    def __init__(self, peer: Peer = None, *, token: str | None = None) -> None:
        self.sync = DDFS(peer, token=token)

    push = _awaited(DDFS.push)
    chunk = _awaited(DDFS.chunk)
    tag = _awaited(DDFS.tag)
    put = _awaited(DDFS.put)
    get = _awaited(DDFS.get)
    history = _awaited(DDFS.history)
    urls = _awaited(DDFS.urls)
    blobs = _awaited(DDFS.blobs)
    blobs_of = _awaited(DDFS.blobs_of)
    exists = _awaited(DDFS.exists)
    delete = _awaited(DDFS.delete)
    attrs = _awaited(DDFS.attrs)
    getattr = _awaited(DDFS.getattr)
    setattr = _awaited(DDFS.setattr)
    delattr = _awaited(DDFS.delattr)
    save = _awaited(DDFS.save)
    walk = _iterated(DDFS.walk)
    findtags = _iterated(DDFS.findtags)
    list = _iterated(DDFS.list)
    pull = _iterated(DDFS.pull)
