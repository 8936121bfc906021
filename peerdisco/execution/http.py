"""Fetching `http(s)://` inputs to the spool: streamed, bounded, and silent servers given up."""

from __future__ import annotations

import aiohttp

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.spool import PIECE_BYTES, SpoolFile


class BadAnswer(OSError):
    """The server answered something else than the document."""


async def fetch_http(url: str, file: SpoolFile, config: ExecutionConfig) -> None:
    """Copy the document at a URL. Raises OSError with a reason for the user."""
    limits = aiohttp.ClientTimeout(
        total=None, sock_connect=config.fetch_timeout_s, sock_read=config.fetch_timeout_s
    )
    try:
        async with aiohttp.ClientSession(timeout=limits) as session, session.get(url) as response:
            if response.status != 200:
                raise BadAnswer(f"the server answered {response.status} {response.reason}")
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                await file.write(piece)
    except TimeoutError:
        raise OSError(f"the server was silent for {config.fetch_timeout_s:.0f} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(str(error) or type(error).__name__) from error
