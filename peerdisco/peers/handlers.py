"""Which function answers which method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

CallHandler = Callable[[str, bytes], Awaitable[bytes]]
FetchHandler = Callable[[str, bytes], AsyncIterator[bytes]]
PushHandler = Callable[[str, bytes, AsyncIterator[bytes]], Awaitable[bytes]]


class Handlers:
    """The methods that this node serves, by form of exchange."""

    def __init__(self) -> None:
        self.calls: dict[str, CallHandler] = {}
        self.fetches: dict[str, FetchHandler] = {}
        self.pushes: dict[str, PushHandler] = {}

    def serve(self, method: str, handler: CallHandler) -> None:
        """Answer `call`s of a method."""
        assert method not in self.calls, f"{method} is served twice"
        self.calls[method] = handler

    def serve_fetch(self, method: str, handler: FetchHandler) -> None:
        """Answer `fetch`es of a method with an async generator."""
        assert method not in self.fetches, f"{method} is served twice"
        self.fetches[method] = handler

    def serve_push(self, method: str, handler: PushHandler) -> None:
        """Take `push`es of a method."""
        assert method not in self.pushes, f"{method} is served twice"
        self.pushes[method] = handler
