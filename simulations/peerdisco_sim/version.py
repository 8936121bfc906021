"""Which code a seed belongs to: a seed changes its meaning with every change of the code."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

_COMMIT_DIGITS = 12


def code_version() -> str:
    """The commit when this is a checkout, else the installed version; and the Python minor."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    commit = _commit(Path(__file__).parents[2] / ".git")
    if commit:
        return f"commit {commit[:_COMMIT_DIGITS]}, {python}"
    try:
        return f"peerdisco {metadata.version('peerdisco')}, {python}"
    except metadata.PackageNotFoundError:
        return python


def _commit(git: Path) -> str:
    """What HEAD points to, "" when it cannot be told without git itself."""
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        return (git / head.removeprefix("ref: ")).read_text().strip()
    except OSError:
        return ""
