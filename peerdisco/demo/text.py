"""Real text for the demo: the sources of this interpreter and of the packages beside it."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

TEXT_BYTES_MIN = 20_000_000


def write_text(target: Path, files: list[Path], size_min: int = TEXT_BYTES_MIN) -> int:
    """Write the given files, or the interpreter's sources, to `target`; returns its size in bytes.

    The interpreter's sources come in a fixed order, and again from the start until `size_min`;
    given files are taken once, as they are.
    """
    size = 0
    with target.open("wb") as out:
        for piece in chain.from_iterable(map(_lines_of, files)) if files else _endless_sources():
            size += out.write(piece)
            if not files and size >= size_min:
                break
    return size


def _endless_sources() -> Iterator[bytes]:
    sources = _python_sources()
    assert sources, "this interpreter has no sources beside it"
    while True:
        for path in sources:
            yield from _lines_of(path)


def _python_sources() -> list[Path]:
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    unique = dict.fromkeys(path for root in roots for path in sorted(root.rglob("*.py")))
    return [path for path in unique if path.is_file() and os.access(path, os.R_OK)]


def _lines_of(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content if content.endswith(b"\n") else content + b"\n"
