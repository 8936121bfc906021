"""Rebuilding pickled columns, with and without trust.

A pickle is a program. Workers run the user's code anyway and load all of it; a client that reads
results should not have to trust every node of a cluster, so `loads_untrusted` rebuilds only plain
values and a short list of harmless ones from the standard library, and refuses all else by name.

Classes written in Python are handed out as their constructor only: a pickle may call it, but has
no object whose attributes it could change. Classes that are handed out as such are immutable
(tested), so nothing a stream does can outlive the value it builds. It can still waste memory.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

from peerdisco.dataflow.errors import BadRecord, CorruptRecords, UnsafeRecord

AS_CLASS = frozenset(
    [
        ("builtins", "bool"),
        ("builtins", "bytearray"),
        ("builtins", "bytes"),
        ("builtins", "complex"),
        ("builtins", "dict"),
        ("builtins", "float"),
        ("builtins", "frozenset"),
        ("builtins", "int"),
        ("builtins", "list"),
        ("builtins", "range"),
        ("builtins", "set"),
        ("builtins", "slice"),
        ("builtins", "str"),
        ("builtins", "tuple"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
    ]
)
"""Classes that a stream may name as they are; all are immutable."""

AS_CONSTRUCTOR = frozenset(
    [
        ("collections", "Counter"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("ipaddress", "IPv4Address"),
        ("ipaddress", "IPv6Address"),
    ]
)
"""Classes that a stream may call, but not touch."""


def loads_trusted(data: bytes) -> object:
    """Rebuild anything, running whatever code the pickle asks for.

    The bytes passed their checksum, so what fails here is a class of the user's: BadRecord.
    """
    try:
        return pickle.loads(data)  # noqa: S301 - only workers come here, which run user code anyway
    except Exception as error:
        raise BadRecord(f"a record cannot be rebuilt: {error}") from error


def loads_untrusted(data: bytes) -> object:
    """Rebuild plain values. Raises UnsafeRecord for any other, CorruptRecords for nonsense."""
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except UnsafeRecord:
        raise
    except Exception as error:
        raise CorruptRecords(f"a batch cannot be unpickled: {error}") from error


def unpickler(file: BinaryIO, *, trusted: bool, encoding: str, errors: str) -> Callable[[], object]:
    """A function that rebuilds the next of several pickles in a file, and fails like the others.

    `encoding` and `errors` are for strings of Python 2.
    """
    kind = pickle.Unpickler if trusted else _Unpickler
    loader = kind(file, encoding=encoding, errors=errors)
    failure = BadRecord if trusted else CorruptRecords

    def load() -> object:
        try:
            return loader.load()
        except UnsafeRecord:
            raise
        except Exception as error:
            raise failure(f"a record cannot be rebuilt: {error}") from error

    return load


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = (module_name, global_name)
        if name in AS_CLASS:
            return getattr(importlib.import_module(module_name), global_name)
        if name in AS_CONSTRUCTOR:
            # The bound slot `type.__call__` constructs, but has no attributes to write to.
            return getattr(importlib.import_module(module_name), global_name).__call__
        raise UnsafeRecord(
            f"the records hold a {module_name}.{global_name}, and rebuilding one may run code that"
            " came with the data: read them with trusted=True if you trust every node of this"
            " cluster"
        )
