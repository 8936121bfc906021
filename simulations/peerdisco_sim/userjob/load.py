"""A job and its input, taken apart so that any cluster, or none, can run it.

The job is what `peerdisco job run FILE` would accept: functions `map` and `reduce` with their
settings, or a `Job` subclass. Its input is read once, here, and cut into pieces as a client does;
the simulated world has no files of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerdisco.cli.program import load
from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import BadInput
from peerdisco.client.inputs import Input
from peerdisco.client.job import FUNCTIONS, Job, pipeline
from peerdisco.client.session import Session
from peerdisco.client.target import LOCAL, Target
from peerdisco.messages import Stage

INPUT_BYTES_MAX = 64 << 20
"""A simulated cluster holds every copy of everything in memory."""

PIECES_PER_NODE = 4
PIECE_BYTES_MIN = 1 << 10
RAW_SCHEME = "raw://"

Source = type[Job] | Job | Callable[..., Any] | str | Path | Mapping[str, Any]
"""A job: a file, a Job class or object, or its functions by name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One input of a task.

    Attributes:
        name: For messages.
        data: The bytes; of a `raw://` input, the URL.
        is_raw: Whether it is a `raw://` URL, which needs no storage.
    """

    name: str
    data: bytes
    is_raw: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A job that can be run anywhere.

    Attributes:
        name: Begins its name on a cluster.
        functions: What travels to the workers.
        stages: Its pipeline.
        partitions: Into how many parts the map output is cut.
        pieces: Its input.
    """

    name: str
    functions: Mapping[str, Any]
    stages: tuple[Stage, ...]
    partitions: int
    pieces: tuple[Piece, ...]


def load_program(
    source: Source, inputs: Iterable[Input] | None = None, *, nodes: int = 1
) -> Program:
    """Take a job apart.

    Args:
        source: Where the job is.
        inputs: What it reads instead of its own `input`.
        nodes: How many nodes shall have something to do.

    Raises:
        BadJob, BadInput: With what is wrong, in words.
    """
    settings = _settings(source)
    given = settings.get("input") if inputs is None else inputs
    listed = [given] if isinstance(given, str | Path) else list(given or ())
    if not listed:
        raise BadInput("the job has no input: give it an attribute `input`, or name files")
    stages = pipeline({"map": None, "reduce": None, **settings})
    splits = settings.get("map_reader") is None and stages[0].name == "map"
    return Program(
        name=settings["name"],
        functions={key: settings[key] for key in FUNCTIONS if settings.get(key) is not None},
        stages=stages,
        partitions=settings["partitions"] or 0,
        pieces=tuple(_pieces(listed, nodes, splits=splits)),
    )


def _settings(source: Source) -> dict[str, Any]:
    """All that a job says of itself."""
    if isinstance(source, Mapping):
        return {"name": "job", "partitions": 1, **source}
    if isinstance(source, str | Path):
        job: Any = load(str(source), None, Cluster(Session(Target((LOCAL,)))))  # never asked
    else:
        job = source() if isinstance(source, type) else source
    names = (*FUNCTIONS, "partitions", "input")
    found = {name: getattr(job, name) for name in names if getattr(job, name, None) is not None}
    return {"name": job.name, "partitions": 1, **found}


def _pieces(inputs: Sequence[Input], nodes: int, *, splits: bool) -> list[Piece]:
    files: list[tuple[str, bytes] | Piece] = []
    for entry in inputs:
        first = entry if isinstance(entry, str | Path) else next(iter(entry), "")
        files.append(_read(first))
    total = sum(len(file[1]) for file in files if not isinstance(file, Piece))
    if total > INPUT_BYTES_MAX:
        raise BadInput(
            f"the input has {total >> 20} MiB; a simulation keeps every copy in memory and takes "
            f"at most {INPUT_BYTES_MAX >> 20} MiB. Name a sample of it instead"
        )
    size = max(PIECE_BYTES_MIN, total // (PIECES_PER_NODE * nodes))
    pieces: list[Piece] = []
    for file in files:
        if isinstance(file, Piece):
            pieces.append(file)
        elif splits:
            pieces += [Piece(file[0], part) for part in _cut(file[1], size)]
        else:
            pieces.append(Piece(*file))
    return pieces


def _read(entry: str | Path) -> tuple[str, bytes] | Piece:
    text = str(entry)
    if text.startswith(RAW_SCHEME):
        return Piece(text, text.encode(), is_raw=True)
    path = Path(text.removeprefix("file://"))
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"the input {text!r} cannot be read here: {error.strerror}. A simulated cluster is "
            "empty: it reads files of this machine and raw:// URLs only"
        ) from None


def _cut(data: bytes, size: int) -> list[bytes]:
    """Parts of at least that size that end with a line."""
    parts = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", min(start + size, len(data)) - 1) + 1
        if end == 0:
            end = len(data)
        parts.append(data[start:end])
        start = end
    return parts
