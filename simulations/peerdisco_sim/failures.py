"""Violations, recorded out of band: asyncio swallows an assertion that is raised in a callback."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that must not happen.

    Attributes:
        at: Virtual second.
        name: Which rule was broken, a short stable word.
        detail: What was seen, possibly many lines.
        node: Name of the node, empty when it concerns none in particular.
    """

    at: float
    name: str
    detail: str
    node: str = ""

    def line(self) -> str:
        """The failure in one line."""
        where = f" on {self.node}" if self.node else ""
        first = self.detail.strip().splitlines()[-1:] or [""]
        return f"t={self.at:.6f}: {self.name}{where}: {first[0]}"


def describe(context: Mapping[str, Any]) -> str:
    """What asyncio's exception handler was told, with the traceback when there is one."""
    message = str(context.get("message", "unhandled exception"))
    error = context.get("exception")
    if not isinstance(error, BaseException):
        return message
    return f"{message}\n{''.join(traceback.format_exception(error)).rstrip()}"
