"""The form of the one route table: nothing that is not in it can be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from peerdisco_webui.security import Access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        method: GET answers HEAD too.
        path: With `{name}` for one percent-encoded segment.
        handler: Turns a request into a response.
        access: What the caller must be allowed.
    """

    method: str
    path: str
    handler: Handler
    access: Access
