"""A job's functions, unpickled: the one place in peerdisco where that happens.

Packs are cached, since the tasks of a job come one after another; parameters are unpickled anew
for every task, as each shall have its own copy. Next: `stages.py`, which calls the functions.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle

from peerdisco import jobpack
from peerdisco.dataflow.files import Files

PACKS_MAX = 4
"""Packs that a worker keeps unpickled."""


class BadFunctions(ValueError):
    """The functions of a pack cannot be used on this node; the message is for their author."""


@dataclass(frozen=True, slots=True)
class Functions:
    """A job's functions by Disco's names, with the pickled parameters."""

    named: Mapping[str, Any]
    pickled_params: bytes

    def get(self, name: str) -> Any:
        """The function or setting of that name, or None."""
        return self.named.get(name)

    def params(self) -> Any:
        """A fresh copy of the job's parameters. Raises BadFunctions."""
        return _loads("parameters", self.pickled_params)


class FunctionCache:
    """The functions of the job packs used last."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._packs: OrderedDict[tuple[str, str], Functions] = OrderedDict()

    def load(self, pack_id: str, path: str) -> Functions:
        """The functions of a pack. Raises OSError, BadPack, and BadFunctions."""
        slot = (pack_id, path)
        if slot in self._packs:
            self._packs.move_to_end(slot)
            return self._packs[slot]
        functions = _load(self._files, path)
        self._packs[slot] = functions
        if len(self._packs) > PACKS_MAX:
            self._packs.popitem(last=False)
        return functions


def _load(files: Files, path: str) -> Functions:
    with files.open_read(path) as file:
        data = file.read()
    pack = jobpack.parse(data)
    payload = jobpack.payload(data, pack)
    try:
        named = _loads("functions", payload.functions)
    except BadFunctions as error:
        if pack.cloudpickle == cloudpickle.__version__:
            raise
        versions = f"cloudpickle {pack.cloudpickle} there, {cloudpickle.__version__} here"
        raise BadFunctions(f"{error} ({versions})") from error
    if not isinstance(named, dict):
        raise BadFunctions("the job pack holds no functions by name")
    return Functions(named, payload.params)


def _loads(what: str, data: bytes) -> Any:
    try:
        return pickle.loads(data)  # noqa: S301 - the worker exists to run the user's code
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadFunctions(
            f"the job's {what} cannot be loaded on this node: {reason}. Modules that are installed"
            " on your machine must be installed on the nodes, too"
        ) from error
