"""What a job is made of, as it crosses wires and disks.

Clients write a `JobSpec`, coordinators hand out `Assignment`s, nodes answer with an `Outcome`.
Every value is a frozen Struct carried as CBOR arrays: append fields with a default, never reorder
them. `encode` and `decode` are the only way in and out, and the only error is `BadMessage`.
"""

from __future__ import annotations

import enum
from typing import TypeVar

import cbor2
import msgspec

T = TypeVar("T")


class BadMessage(ValueError):
    """Bytes that are not the message they should be. Nothing was changed."""


def encode(message: object) -> bytes:
    """The CBOR bytes of a message."""
    return cbor2.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(data: bytes, kind: type[T]) -> T:
    """The message of the given kind in CBOR bytes; raises BadMessage for anything else."""
    try:
        return msgspec.convert(cbor2.loads(data), kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"not a {getattr(kind, '__name__', kind)}: {error}") from None


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=False):
    """Base of everything below."""


class Grouping(enum.StrEnum):
    """How the outputs of one stage are grouped into the tasks of the next (Disco's names)."""

    SPLIT = "split"
    GROUP_LABEL = "group_label"
    GROUP_NODE = "group_node"
    GROUP_NODE_LABEL = "group_node_label"
    GROUP_ALL = "group_all"


class Stage(Message, frozen=True, array_like=True):
    """One step of a job's pipeline."""

    name: str
    grouping: Grouping


class JobSpec(Message, frozen=True, array_like=True):
    """What the cluster must know of a job without unpickling anything.

    Attributes:
        name: The submission's unique name, made by the client: repeating it is the same job.
        owner: Who asked for it, `user@host`.
        stages: The pipeline, first to last.
        inputs: For each input, the URLs of its replicas; `tag://` stands for all blobs of a tag.
        partitions: How many labels the first stage may write; 0 means unpartitioned.
        python: The `major.minor` that pickled the functions; only such workers may run it.
        attempts_max: How often one task may fail by itself before the job fails.
        submitted_at: Wall time at the client, for people.
        temporary_tag: A tag that the client pushed its own files to, deleted with the job.
        save_results: Whether the results also get the tag `disco:results:<name>`.
        origins: For each input what people call it, such as a file and where in it; or nothing.
    """

    name: str
    owner: str
    stages: tuple[Stage, ...]
    inputs: tuple[tuple[str, ...], ...]
    partitions: int
    python: str
    attempts_max: int = 4
    submitted_at: float = 0.0
    temporary_tag: str = ""
    save_results: bool = False
    origins: tuple[str, ...] = ()


class Input(Message, frozen=True, array_like=True):
    """One input of a task.

    Attributes:
        urls: Replicas, any of which will do: `blob:`, `segment:`, `file:`, `http:`, `raw:`.
        label: Which label of its producer this is; 0 for a job's own inputs.
        size: Bytes, 0 when unknown.
        producer: The task of the previous stage that made it, or -1.
        records: Number of records, 0 when unknown.
        origin: What people call it, for messages; empty when its URLs say it all.
    """

    urls: tuple[str, ...]
    label: int = 0
    size: int = 0
    producer: int = -1
    records: int = 0
    origin: str = ""


class Assignment(Message, frozen=True, array_like=True):
    """One attempt of one task, handed to one node.

    Attributes:
        job: Name of the job.
        pack: Blob id of the job pack.
        stage: Index in the pipeline.
        stage_name: Its name.
        task: Number of the task within its stage.
        attempt: Number of the attempt within the job; unique, so repeats are harmless.
        label: The label that a grouped task works on, else 0.
        inputs: What to read, in any order.
        partitions: As in the JobSpec.
        final: Whether outputs go to DDFS (last stage) or stay on the node as segments.
    """

    job: str
    pack: str
    stage: int
    stage_name: str
    task: int
    attempt: int
    label: int
    inputs: tuple[Input, ...]
    partitions: int
    final: bool


class Output(Message, frozen=True, array_like=True):
    """What a task left behind under one label.

    Attributes:
        label: Partition number.
        url: `segment://node/path` of an intermediate, `blob:b3-...` of a result.
        size: Bytes on disk.
        records: Number of records.
    """

    label: int
    url: str
    size: int
    records: int


class ErrorKind(enum.StrEnum):
    """Whose fault a failed attempt was."""

    USER = "user"
    WORKER_LOST = "worker_lost"
    INPUT = "input"
    NODE = "node"


class TaskError(Message, frozen=True, array_like=True):
    """Why an attempt failed, in words for the user.

    Attributes:
        kind: Whose fault it was.
        message: One line.
        traceback: The user's traceback with the frames on the node; empty when there is none.
        input: The URL that was being read, when known.
        record: Number of the record in that input, from 0; -1 when unknown.
        node: Name of the node.
        stage: Name of the stage, once the error ended the job; empty when no task is to blame.
        task: Number of the task, likewise; -1 when no task is to blame.
        origin: What people call the input.
    """

    kind: ErrorKind
    message: str
    traceback: str = ""
    input: str = ""
    record: int = -1
    node: str = ""
    stage: str = ""
    task: int = -1
    origin: str = ""


class Finished(Message, frozen=True, array_like=True, tag="finished"):
    """The attempt succeeded.

    Attributes:
        outputs: In label order.
        records_in: Records read.
        records_out: Records written.
        cpu_s: CPU seconds of the worker.
        log: The last lines that the user's code printed.
    """

    outputs: tuple[Output, ...]
    records_in: int = 0
    records_out: int = 0
    cpu_s: float = 0.0
    log: tuple[str, ...] = ()


class Failed(Message, frozen=True, array_like=True, tag="failed"):
    """The attempt failed by itself.

    Attributes:
        error: Why.
        log: The last lines that the user's code printed.
    """

    error: TaskError
    log: tuple[str, ...] = ()


class InputsLost(Message, frozen=True, array_like=True, tag="inputs_lost"):
    """Inputs that no replica could serve; their producers must run again.

    Attributes:
        producers: Task numbers of the previous stage.
    """

    producers: tuple[int, ...]


Outcome = Finished | Failed | InputsLost
"""How an attempt ended."""
