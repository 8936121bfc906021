"""The job pack: what a client sends so that workers can run its functions.

    8 bytes   MAGIC, with the version in its last byte
    4 bytes   length of the header
    header    CBOR: the JobSpec and the version of cloudpickle that made the payload
    payload   CBOR: two pickles, the functions and the parameters

Daemons read the header only, and everything that can be refused is refused there: another Python
minor would load the functions and crash when it calls them. Only `peerdisco/worker` unpickles the
payload. `build` runs at the client, where the functions are; `parse` anywhere.
"""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import sysconfig
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CellType, CodeType, ModuleType
from typing import Any, ClassVar, NamedTuple

from peerdisco.messages import BadMessage, JobSpec, Message, decode, encode

MAGIC = b"\x89PDJOB\n\x01"
"""Not text in any encoding; ends with the version of the format."""

HEADER_BYTES_MAX = 64 << 20
"""A header lists all inputs of a job; a longer one is not believed."""

NAME = re.compile(r"[A-Za-z0-9_\-@:]{1,256}")
"""What a job may be called: what has ended is archived under a tag of that name."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The `major.minor` of this interpreter."""

_HEAD = struct.Struct(">8sI")

_Reduce = Callable[[CodeType], tuple[Any, tuple[Any, ...]]]


class BadPack(ValueError):
    """Not a job pack that can be used here. Nothing of it was unpickled."""


class PythonMismatch(BadPack):
    """The pack was made by another Python minor than the one that should run it."""


class Unpicklable(TypeError):
    """One of the job's functions or parameters cannot be sent. The message says which and why."""


class Header(Message, frozen=True, array_like=True):
    """What may be known of a pack without unpickling.

    Attributes:
        spec: The job.
        cloudpickle: The version that pickled the functions.
    """

    spec: JobSpec
    cloudpickle: str


class Payload(Message, frozen=True, array_like=True):
    """The pickles of a pack.

    Attributes:
        functions: A pickled mapping from names to functions and settings.
        params: The pickled parameters, apart, since every task gets its own copy.
    """

    functions: bytes
    params: bytes


class Pack(NamedTuple):
    """A job pack whose header was read and whose payload was not."""

    spec: JobSpec
    cloudpickle: str
    payload_offset: int


def build(spec: JobSpec, functions: Mapping[str, object]) -> bytes:
    """Pack a job.

    `functions` maps Disco's names (`map`, `reduce`, `combiner`, `partition`, `map_reader`,
    `map_init`, `reduce_init`, `sort`, ...) to functions and settings, and `params` to anything.
    Modules of the user's own travel with them. Raises Unpicklable.
    """
    import cloudpickle

    header = encode(Header(spec, cloudpickle.__version__))
    with _own_modules_by_value():
        code = {name: value for name, value in functions.items() if name != "params"}
        payload = Payload(_pickle_all(code), _pickle("params", functions.get("params")))
    return _HEAD.pack(MAGIC, len(header)) + header + encode(payload)


def parse(data: bytes, *, python: str | None = PYTHON) -> Pack:
    """Read the header of a pack; the payload follows it, untouched.

    `python` is the minor that shall run it; None accepts any, for nodes that only pass it on.
    Raises BadPack, and PythonMismatch naming both minors.
    """
    if len(data) < _HEAD.size:
        raise BadPack(_explain_start(data))
    magic, size = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise BadPack(_explain_start(data))
    if size > HEADER_BYTES_MAX:
        raise BadPack(f"the job pack's header claims {size} bytes; at most {HEADER_BYTES_MAX} are")
    offset = _HEAD.size + size
    if len(data) <= offset:
        raise BadPack(
            f"the job pack is cut short: {len(data)} bytes, {offset} are the header alone"
        )
    try:
        header = decode(data[_HEAD.size : offset], Header)
    except BadMessage as error:
        raise BadPack(f"the job pack's header is damaged: {error}") from None
    if NAME.fullmatch(header.spec.name) is None:
        raise BadPack(
            "a job's name has 1 to 256 of A-Z a-z 0-9 _ - @ :, as it becomes the name of a tag, "
            f"unlike {header.spec.name!r:.300}"
        )
    if python is not None and header.spec.python != python:
        raise PythonMismatch(
            f"job {header.spec.name} was made by Python {header.spec.python}, but this node runs"
            f" Python {python}: functions cannot move between minor versions. Submit it with"
            f" Python {python}, or run nodes with Python {header.spec.python}"
        )
    return Pack(header.spec, header.cloudpickle, offset)


def payload(data: bytes, pack: Pack) -> Payload:
    """The pickles of a parsed pack, still pickled. Raises BadPack when they are cut short."""
    try:
        return decode(data[pack.payload_offset :], Payload)
    except BadMessage as error:
        raise BadPack(f"the job pack is cut short or damaged: {error}") from None


def _explain_start(data: bytes) -> str:
    if data[:7] == MAGIC[:7] and len(data) > 7 and data[7] != MAGIC[7]:
        return f"a job pack of version {data[7]}, but only version {MAGIC[7]} is known"
    if data and data.startswith(MAGIC[: len(data)]):
        return "the job pack is cut short: not even its header is complete"
    return "not a job pack"


def _pickle_all(functions: Mapping[str, object]) -> bytes:
    try:
        return _dumps(dict(functions))
    except Exception:
        for name, function in functions.items():
            _pickle(name, function)
        raise  # Each pickles by itself, and not together: as odd as it is rare.


def _pickle(name: str, value: object) -> bytes:
    try:
        return _dumps(value)
    except Exception as error:
        raise Unpicklable(_explain(name, value, error)) from error


def _dumps(value: object) -> bytes:
    import cloudpickle  # only clients that submit need it

    known = cloudpickle.CloudPickler.dispatch_table
    named = {CodeType: partial(_with_file_name, known[CodeType])}

    class NamingPickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
        dispatch_table: ClassVar[Any] = ChainMap(named, known)

    buffer = io.BytesIO()
    NamingPickler(buffer).dump(value)
    return buffer.getvalue()


def _with_file_name(reduce: _Reduce, code: CodeType) -> tuple[Any, tuple[Any, ...]]:
    """A code object as cloudpickle reduces it, but with its file: tracebacks shall show it."""
    rebuild, arguments = reduce(code)
    named = [code.co_filename if _is_no_name(part) else part for part in arguments]
    return rebuild, tuple(named)


def _is_no_name(part: object) -> bool:
    return isinstance(part, str) and part == "<dynamic-code>"


def _explain(name: str, value: object, error: Exception) -> str:
    culprit = _culprit(value)
    what = "the job's params" if name == "params" else f"the job's {name} function"
    through = f" through its {culprit}" if culprit else ""
    return (
        f"{what} cannot be sent to the nodes{through}: {error}. Things like locks, open files,"
        " sockets and connections stay on one machine: create them inside the function"
    )


def _culprit(function: object) -> str:
    """The closure or global variable that does not pickle, in the words of the program."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    variables = getattr(function, "__globals__", {})
    cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=True)
    candidates = [(f"closure variable {name!r}", _contents(cell)) for name, cell in cells]
    named = [name for name in code.co_names if name in variables]
    candidates += [(f"global {name!r}", variables[name]) for name in named]
    for label, candidate in candidates:
        try:
            _dumps(candidate)
        except Exception as error:
            return f"{label} ({type(error).__name__})"
    return ""


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not assigned yet


@contextmanager
def _own_modules_by_value() -> Iterator[None]:
    """While it lasts, cloudpickle sends the user's own modules along, as nodes lack them."""
    import cloudpickle

    registered: list[ModuleType] = []
    before = cloudpickle.list_registry_pickle_by_value()
    try:
        libraries = _library_directories()
        for name, module in sorted(sys.modules.items()):
            if name in before or not isinstance(module, ModuleType):
                continue
            if _is_own(name, module, libraries):
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(name: str, module: ModuleType, libraries: list[str]) -> bool:
    """Whether a module is the user's own: neither the library's, nor installed, nor ours."""
    top = name.partition(".")[0]
    if name == "__main__" or top == "peerdisco" or top.startswith("peerdisco_"):
        return False
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or getattr(module, "__name__", "") != name:
        return False
    if _is_within(path, libraries):
        return False  # nearly all modules end here, without a look at the disk
    place = os.path.realpath(path)
    installed = {"site-packages", "dist-packages"} & set(place.split(os.sep))
    return not installed and not _is_within(place, libraries)


def _is_within(path: str, directories: list[str]) -> bool:
    return any(path.startswith(directory) for directory in directories)


def _library_directories() -> list[str]:
    """Where Python keeps its own and installed modules, as it says and as the disk says."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    everywhere = dict.fromkeys([*paths, *map(os.path.realpath, paths)])
    return [path.rstrip(os.sep) + os.sep for path in everywhere]
