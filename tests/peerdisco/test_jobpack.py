"""Job packs: checked before anything is unpickled, and refused in the words of the user."""

from __future__ import annotations

import importlib.util
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest

from peerdisco.jobpack import (
    MAGIC,
    PYTHON,
    BadPack,
    PythonMismatch,
    Unpicklable,
    build,
    parse,
    payload,
)
from peerdisco.messages import Grouping, JobSpec, Stage


def spec(python: str = PYTHON) -> JobSpec:
    stages = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))
    return JobSpec("count@1", "ada@home", stages, (("raw://a",),), 2, python)


def test_a_pack_tells_its_job_and_carries_its_functions() -> None:
    threshold = 3
    data = build(spec(), {"map": lambda x: x > threshold, "sort": True, "params": {"n": 1}})
    pack = parse(data)
    assert (spec(), cloudpickle.__version__) == (pack.spec, pack.cloudpickle)
    parts = payload(data, pack)
    functions = pickle.loads(parts.functions)
    assert (True, True) == (functions["map"](4), functions["sort"])
    assert pickle.loads(parts.params) == {"n": 1}


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a b", "ä", "x" * 257])
def test_a_name_under_which_no_job_could_be_archived_is_refused(name: str) -> None:
    """Such a job ran and then tried for ever to leave its record under a tag of that name."""
    odd = msgspec.structs.replace(spec(), name=name)
    with pytest.raises(BadPack, match="name"):
        parse(build(odd, {"map": len}))


def test_parsing_never_unpickles() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return sys.exit, ("unpickled",)

    data = build(spec(), {"map": Bomb()})
    pack = parse(data)
    assert spec() == pack.spec
    assert payload(data, pack).functions


def test_what_is_no_pack_is_said_to_be_none() -> None:
    with pytest.raises(BadPack, match="not a job pack"):
        parse(b"#!/usr/bin/python\n and more")


def test_a_pack_cut_anywhere_is_refused() -> None:
    data = build(spec(), {"map": len})
    for size in range(len(data)):
        with pytest.raises(BadPack):
            payload(data[:size], parse(data[:size]))


def test_a_pack_cut_in_its_header_says_so() -> None:
    with pytest.raises(BadPack, match="cut short"):
        parse(build(spec(), {"map": len})[:20])
    with pytest.raises(BadPack, match="cut short"):
        parse(MAGIC[:4])


def test_another_version_is_named() -> None:
    with pytest.raises(BadPack, match="version 7"):
        parse(MAGIC[:-1] + b"\x07" + bytes(20))


def test_a_damaged_header_is_refused() -> None:
    data = bytearray(build(spec(), {"map": len}))
    data[12] ^= 0xFF
    with pytest.raises(BadPack, match="header is damaged"):
        parse(bytes(data))


def test_an_absurd_header_is_not_read() -> None:
    with pytest.raises(BadPack, match="claims"):
        parse(MAGIC + b"\xff\xff\xff\xff" + bytes(20))


def test_another_python_minor_is_refused_naming_both() -> None:
    data = build(spec("3.99"), {"map": len})
    with pytest.raises(PythonMismatch, match=rf"Python 3\.99, but this node runs Python {PYTHON}"):
        parse(data)
    assert parse(data, python="3.99").spec.python == "3.99"


def test_nodes_that_only_pass_a_pack_on_accept_any_python() -> None:
    assert parse(build(spec("3.99"), {"map": len}), python=None).spec.python == "3.99"


LOCK = threading.Lock()


def test_a_function_that_does_not_pickle_is_named_with_the_culprit() -> None:
    lock = threading.Lock()

    def closing_over(entry: Any, params: Any) -> Any:
        with lock:
            yield entry, 1

    with pytest.raises(Unpicklable, match=r"map function cannot .* closure variable 'lock'"):
        build(spec(), {"map": closing_over, "reduce": len})


def test_a_global_that_does_not_pickle_is_named() -> None:
    def using_a_global(records: Any, params: Any) -> Any:
        with LOCK:
            return records

    with pytest.raises(Unpicklable, match=r"reduce function cannot .* global 'LOCK'"):
        build(spec(), {"map": len, "reduce": using_a_global})


def test_params_that_do_not_pickle_are_named() -> None:
    with pytest.raises(Unpicklable, match="params cannot be sent"):
        build(spec(), {"map": len, "params": threading.Lock()})


def test_the_users_own_modules_travel_with_the_functions(tmp_path: Path) -> None:
    source = tmp_path / "own_helpers_of_the_user.py"
    source.write_text("FACTOR = 3\ndef triple(number):\n    return FACTOR * number\n")
    loader = importlib.util.spec_from_file_location(source.stem, source)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules[source.stem] = module
    try:
        loader.loader.exec_module(module)
        by_reference = cloudpickle.list_registry_pickle_by_value()
        data = build(spec(), {"map": lambda number: module.triple(number), "reduce": module.triple})
        assert by_reference == cloudpickle.list_registry_pickle_by_value()
    finally:
        del sys.modules[source.stem]
    functions = pickle.loads(payload(data, parse(data)).functions)
    assert (6, 9) == (functions["map"](2), functions["reduce"](3))
