"""Finds the job in a Python file: a Job class, or the functions `map` and `reduce`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from peerdisco.client.errors import BadJob
from peerdisco.client.job import FUNCTIONS, Job

if TYPE_CHECKING:
    from peerdisco.client.cluster import Cluster

_SETTINGS = (*FUNCTIONS, "partitions", "input", "save_results")


def load(program: str, name: str | None, cluster: Cluster) -> Job:
    """The job of `FILE.py` or `FILE.py:CLASS`, not yet run. Raises BadJob."""
    path, _, class_name = program.partition(":")
    module = _import(Path(path))
    if class_name:
        found: Any = getattr(module, class_name, None)
        if not (isinstance(found, type) and issubclass(found, Job)):
            raise BadJob(f"{path} has no Job class named {class_name}")
        return found(name, cluster)
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Job)
        and value.__module__ == module.__name__
    ]
    if len(classes) == 1:
        return classes[0](name, cluster)
    if classes:
        names = ", ".join(kind.__name__ for kind in classes)
        raise BadJob(
            f"{path} has several Job classes ({names}); choose one as {path}:{classes[0].__name__}"
        )
    return _from_functions(module, name, cluster)


def _import(path: Path) -> ModuleType:
    """Import a file under its own name, as `python -m` would from its directory."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if path.suffix != ".py" or spec is None or spec.loader is None or not path.is_file():
        raise BadJob(f"{path} is not a Python file on this machine")
    sys.path.insert(0, str(path.parent.absolute()))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _from_functions(module: ModuleType, name: str | None, cluster: Cluster) -> Job:
    found = {key: getattr(module, key) for key in _SETTINGS if hasattr(module, key)}
    if not {"map", "reduce"} & found.keys():
        raise BadJob(f"{module.__file__} has neither a Job class nor functions map and reduce")
    job = Job(name or module.__name__.replace(".", "_"), cluster)
    for key, value in found.items():
        setattr(job, key, value)
    return job
