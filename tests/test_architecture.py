"""The shape of the house, checked on every run: who may know whom, and what code may touch.

One walk over the syntax trees of all product code. There is no list of exceptions: a rule either
holds or is changed here, for all. To declare a module pure, let its path match a glob of `PURE`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = {
    "peerdisco": "peerdisco",
    "peerdisco_gossip": "gossip/peerdisco_gossip",
    "peerdisco_election": "election/peerdisco_election",
    "peerdisco_dht": "dht_storage/peerdisco_dht",
    "peerdisco_webui": "webui/peerdisco_webui",
    "peerdisco_sim": "simulations/peerdisco_sim",
}
LEAVES = ("peerdisco_gossip", "peerdisco_election", "peerdisco_dht", "peerdisco_webui")

MAY_IMPORT = {
    **{leaf: (leaf,) for leaf in LEAVES},
    "peerdisco": ("peerdisco", *LEAVES),
    "peerdisco_sim": tuple(PACKAGES),
}

PURE = (
    "**/core.py",
    "**/effects.py",
    "**/errors.py",
    "**/facts.py",
    "**/messages.py",
    "**/quorum.py",
    "peerdisco/dataflow/*.py",
    "peerdisco/coordination/grouping.py",
    "peerdisco/coordination/scheduler.py",
    "peerdisco/coordination/state.py",
    "peerdisco/coordination/tasks.py",
    "election/peerdisco_election/candidate.py",
    "election/peerdisco_election/follower.py",
    "election/peerdisco_election/leader.py",
    "election/peerdisco_election/log.py",
    "election/peerdisco_election/membership.py",
    "election/peerdisco_election/progress.py",
    "gossip/peerdisco_gossip/awareness.py",
    "gossip/peerdisco_gossip/broadcast.py",
    "gossip/peerdisco_gossip/detector.py",
    "gossip/peerdisco_gossip/ledger.py",
    "gossip/peerdisco_gossip/members.py",
    "gossip/peerdisco_gossip/probe.py",
    "gossip/peerdisco_gossip/rosters.py",
    "gossip/peerdisco_gossip/suspicion.py",
    "dht_storage/peerdisco_dht/keys.py",
    "dht_storage/peerdisco_dht/layout.py",
    "dht_storage/peerdisco_dht/placement.py",
    "dht_storage/peerdisco_dht/registers/acceptor.py",
    "dht_storage/peerdisco_dht/registers/value.py",
    "dht_storage/peerdisco_dht/tags/head.py",
    "dht_storage/peerdisco_dht/tags/tokens.py",
)
IMPURE_IMPORTS = (
    "asyncio",
    "aiohttp",
    "aioudp",
    "concurrent",
    "datetime",
    "logging",
    "os",
    "pathlib",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
)

OUTSIDE_THE_SIMULATOR = (
    "peerdisco/__init__.py",
    "peerdisco/__main__.py",
    "peerdisco/daemon.py",
    "peerdisco/startup.py",
    "peerdisco/cli/**/*.py",
    "peerdisco/client/**/*.py",
    "peerdisco/demo/**/*.py",
    "peerdisco/host/**/*.py",
    "peerdisco/worker/__main__.py",
)
"""What talks to the real machine or lives in other processes than the node: what people call, the
daemon before and around `run_node`, the host, the worker's own process. Nothing that runs in the
simulator may import any of it, so it may do what it must."""

BANNED = {
    "time.time": "take Machine.wall_time",
    "time.time_ns": "take Machine.wall_time",
    "time.monotonic": "use the running loop's time()",
    "time.monotonic_ns": "use the running loop's time()",
    "time.perf_counter": "use the running loop's time()",
    "time.sleep": "await asyncio.sleep",
    "datetime.datetime.now": "take Machine.wall_time",
    "datetime.datetime.utcnow": "take Machine.wall_time",
    "datetime.datetime.today": "take Machine.wall_time",
    "datetime.date.today": "take Machine.wall_time",
    "os.urandom": "take Machine.entropy",
    "uuid.uuid1": "take Machine.entropy",
    "uuid.uuid4": "take Machine.entropy",
    "secrets": "take Machine.entropy",
    "open": "go through Disk or Files",
    "io.open": "go through Disk or Files",
    "os.open": "go through Disk or Files",
    "tempfile": "go through Disk or Files",
    "shutil": "go through Disk or Files",
    "threading": "nothing starts a thread",
    "multiprocessing": "go through Processes",
    "concurrent.futures": "nothing starts a thread",
    "subprocess": "go through Processes",
    "asyncio.create_subprocess_exec": "go through Processes",
    "asyncio.create_subprocess_shell": "go through Processes",
    "asyncio.to_thread": "nothing starts a thread",
    "sqlite3": "go through Store",
    "asyncio.create_task": "use a TaskGroup: every task has a parent",
    "asyncio.ensure_future": "use a TaskGroup: every task has a parent",
    "asyncio.as_completed": "it completes in the order of a set",
    "asyncio.get_event_loop": "use asyncio.get_running_loop",
    "asyncio.Runner": "a node does not start loops",
    "asyncio.run": "a node does not start loops",
    "signal.signal": "the daemon handles signals",
}
RANDOM_CLASSES = ("random.Random",)

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

SET_MAKERS = ("set", "frozenset")
SET_ANNOTATIONS = ("set", "frozenset", "Set", "AbstractSet", "MutableSet")
ORDER_SENSITIVE = ("list", "tuple", "iter", "enumerate", "dict.fromkeys", "zip", "map", "next")
EMPTY_CONTAINERS = ("list", "dict", "set", "deque", "defaultdict", "OrderedDict", "Counter")

Offences = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class Module:
    """One source file."""

    package: str
    path: PurePosixPath

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name stands for, dotted."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    names[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return names

    def matches(self, globs: tuple[str, ...]) -> bool:
        return any(_matches(self.path, glob) for glob in globs)

    def dotted(self, node: ast.expr) -> str:
        """The full name of a name or an attribute, "" when it is something else."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""


def _matches(path: PurePosixPath, glob: str) -> bool:
    if "**/" in glob:
        head, tail = glob.split("**/", 1)
        return str(path).startswith(head) and path.match(tail)
    return path.match(glob) and len(path.parts) == len(PurePosixPath(glob).parts)


def _modules() -> list[Module]:
    return [
        Module(package, PurePosixPath(file.relative_to(ROOT)))
        for package, folder in PACKAGES.items()
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]


def _in_simulator(module: Module) -> bool:
    if module.package == "peerdisco_sim":
        return "scenarios" in module.path.parts
    return not module.matches(OUTSIDE_THE_SIMULATOR)


def _imported(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else node.module or ""


def wrong_imports(module: Module) -> Offences:
    """The four leaves know only themselves; peerdisco knows the leaves; nobody the simulator."""
    for line, name in _imported(module):
        top = name.split(".")[0]
        if name == ".":
            yield line, "relative import: say where it comes from"
        elif top in PACKAGES and top not in MAY_IMPORT[module.package]:
            yield line, f"{module.package} may not import {top}"


def reaching_outside(module: Module) -> Offences:
    """What runs in the simulator does not import what never does."""
    if not _in_simulator(module):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            path = name.replace(".", "/")
            if name != "peerdisco" and any(
                _matches(PurePosixPath(file), glob)
                for file in (f"{path}.py", f"{path}/__init__.py")
                for glob in OUTSIDE_THE_SIMULATOR
            ):
                yield node.lineno, f"{name} never runs in the simulator"


def impurities(module: Module) -> Offences:
    """A pure module has no clock, no loop, no socket, no log; `random` only as a type."""
    if not module.matches(PURE):
        return
    for line, name in _imported(module):
        if name.split(".")[0] in IMPURE_IMPORTS:
            yield line, f"a pure module may not import {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno, "a pure module does not await"


def banned_names(module: Module) -> Offences:
    """What runs in the simulator reaches the machine through its seams only."""
    if not _in_simulator(module):
        return
    for line, name in _imported(module):
        if name in BANNED:
            yield line, f"{name}: {BANNED[name]}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = module.dotted(node)
            if name in BANNED and "." in name:
                yield node.lineno, f"{name}: {BANNED[name]}"
            elif name.startswith("random.") and not name.startswith(RANDOM_CLASSES):
                yield node.lineno, f"{name}: take a named random stream"
        elif isinstance(node, ast.Call):
            name = module.dotted(node.func)
            if name == "open" or (name in RANDOM_CLASSES and not node.args):
                yield node.lineno, f"{name}(): {BANNED.get(name, 'give it a seed')}"


def shared_state(module: Module) -> Offences:
    """All simulated nodes share a module, so it holds nothing that changes."""
    if not _in_simulator(module):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"
    for node in module.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = (isinstance(value, ast.List | ast.Set) and not value.elts) or (
            isinstance(value, ast.Dict) and not value.keys
        )
        if isinstance(value, ast.Call):
            empty = module.dotted(value.func).rsplit(".", 1)[-1] in EMPTY_CONTAINERS
        if empty and value is not None:
            yield value.lineno, "an empty container at module level is there to be changed"


class _Sets(ast.NodeVisitor):
    """Finds places whose order is that of a set, as far as names and annotations tell."""

    def __init__(self, module: Module) -> None:
        self.found: list[tuple[int, str]] = []
        self._module = module
        self._attributes = _set_attributes(module)
        self._names: list[dict[str, bool]] = [{}]

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id=name)) if name in SET_MAKERS:
                return True
            case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
                return self._is_set(node.left) or self._is_set(node.right)
            case ast.Name(id=name):
                return any(scope.get(name, False) for scope in self._names[-1:])
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return name in self._attributes
        return False

    def _check(self, node: ast.expr, what: str) -> None:
        if self._is_set(node):
            self.found.append((node.lineno, f"{what} a set: sort it, or keep a dict"))

    def visit_For(self, node: ast.For) -> None:
        self._check(node.iter, "iterates")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._check(node.iter, "iterates")
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """A set made from a set has no order to lose."""
        for generator in node.generators:
            self.generic_visit(generator)
        self.visit(node.elt)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._check(node.value, "unpacks")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._module.dotted(node.func)
        if name in ORDER_SENSITIVE or (isinstance(node.func, ast.Attribute) and _joins(node)):
            for argument in node.args:
                self._check(argument, f"{name or 'join'}() of")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args:
            self._check(node.func.value, "pops from")
        sorting = name in ("sorted", "sum", "min", "max", "any", "all", "len", *SET_MAKERS)
        if sorting and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            # The result does not depend on the order of the generator.
            inner = node.args[0]
            for generator in inner.generators:
                self.generic_visit(generator)
            self.visit(inner.elt)
            return
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        scope = self._names[-1]
        for target in node.targets:
            if isinstance(target, ast.Name):
                scope[target.id] = self._is_set(node.value)
            elif isinstance(target, ast.Tuple) and self._is_wait(node.value):
                scope.update({t.id: True for t in target.elts if isinstance(t, ast.Name)})

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self._names[-1][node.target.id] = _says_set(node.annotation)

    def _is_wait(self, node: ast.expr) -> bool:
        call = node.value if isinstance(node, ast.Await) else node
        return isinstance(call, ast.Call) and self._module.dotted(call.func) == "asyncio.wait"

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._names.append(
            {a.arg: True for a in arguments if a.annotation and _says_set(a.annotation)}
        )
        self.generic_visit(node)
        self._names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)


def _joins(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "join"


def _says_set(annotation: ast.expr) -> bool:
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return isinstance(base, ast.Name) and base.id in SET_ANNOTATIONS


def _set_attributes(module: Module) -> list[str]:
    """Attributes of self that are annotated as, or begin as, sets, and fields likewise."""
    names = []
    for node in ast.walk(module.tree):
        match node:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name)) if (
                _says_set(node.annotation)
            ):
                names.append(name)
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)],
                value=ast.Call(func=ast.Name(id=maker)),
            ) if maker in SET_MAKERS:
                names.append(name)
            case ast.ClassDef(body=body):
                names += [
                    field.target.id
                    for field in body
                    if isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and _says_set(field.annotation)
                ]
    return names


def orders_of_sets(module: Module) -> Offences:
    """A set's order differs from process to process, and nodes must replay."""
    if _in_simulator(module):
        visitor = _Sets(module)
        visitor.visit(module.tree)
        yield from visitor.found


def missing_docstrings(module: Module) -> Offences:
    """Every module says what it is."""
    if not ast.get_docstring(module.tree):
        yield 1, "no module docstring"


def sizes(module: Module) -> Offences:
    """Files and functions stay small enough to be read at once."""
    lines = len(module.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield 1, f"{lines} lines; at most {FILE_LINES_MAX}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            documentation = node.body[0] if ast.get_docstring(node) else None
            if documentation is not None:
                length -= (documentation.end_lineno or 0) - documentation.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name}: {length} lines; at most {FUNCTION_LINES_MAX}"


RULES: tuple[Callable[[Module], Offences], ...] = (
    wrong_imports,
    impurities,
    reaching_outside,
    banned_names,
    shared_state,
    orders_of_sets,
    missing_docstrings,
    sizes,
)


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return _modules()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(
    rule: Callable[[Module], Offences], modules: list[Module]
) -> None:
    offences = [
        f"{module.path}:{line}: {what}" for module in modules for line, what in rule(module)
    ]
    assert [] == offences, "\n".join(offences)


@pytest.mark.parametrize("glob", PURE + OUTSIDE_THE_SIMULATOR)
def test_every_glob_names_something(glob: str, modules: list[Module]) -> None:
    assert any(module.matches((glob,)) for module in modules)


def _judge(rule: Callable[[Module], Offences], source: str, path: str = "") -> list[str]:
    module = Module("peerdisco", PurePosixPath(path or "peerdisco/example.py"))
    module.__dict__["text"] = source
    return [what for _, what in rule(module)]


WAITING = """
import asyncio
async def wait(tasks):
    done, pending = await asyncio.wait(tasks)
    for task in done: pass
"""


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (wrong_imports, "from peerdisco_sim.world import World"),
        (wrong_imports, "def f():\n    import peerdisco_sim"),
        (wrong_imports, "from . import sibling"),
        (banned_names, "import time as clock\nx = clock.monotonic"),
        (banned_names, "from time import time\ntime()"),
        (banned_names, "from datetime import datetime\ndatetime.now()"),
        (banned_names, "import random\nrandom.shuffle([])"),
        (banned_names, "from random import choice\nchoice([])"),
        (banned_names, "import random\nrandom.Random()"),
        (banned_names, "open('x')"),
        (banned_names, "import sqlite3"),
        (banned_names, "from asyncio import create_task\ncreate_task(x)"),
        (reaching_outside, "from peerdisco.host.disk import HostDisk"),
        (reaching_outside, "from peerdisco import daemon"),
        (reaching_outside, "import peerdisco.client.job"),
        (shared_state, "seen: dict[str, int] = {}"),
        (shared_state, "def f():\n    global x\n    x = 1"),
        (orders_of_sets, "for x in {1, 2}: pass"),
        (orders_of_sets, "def f(a: set[str]):\n    return [x for x in a]"),
        (orders_of_sets, "def f(a):\n    b = set(a)\n    return list(b)"),
        (orders_of_sets, "def f(a):\n    return ','.join({x for x in a})"),
        (
            orders_of_sets,
            "class A:\n    def f(self):\n        self.b = set()\n        b, *c = *self.b, 1",
        ),
        (orders_of_sets, WAITING),
        (missing_docstrings, "x = 1"),
        (sizes, "x = 1\n" * 501),
        (sizes, "def f():\n" + "    x = 1\n" * 71),
    ],
)
def test_an_offence_is_found(rule: Callable[[Module], Offences], source: str) -> None:
    assert _judge(rule, source)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (wrong_imports, "from peerdisco_gossip import Membership"),
        (banned_names, "import random\ndef f(rng: random.Random): rng.random()"),
        (banned_names, "import random\nrandom.Random('seed')"),
        (banned_names, "async def f(disk): await disk.open('x')"),
        (reaching_outside, "from peerdisco.machine import Machine"),
        (shared_state, "NAMES = {'a': 1}"),
        (orders_of_sets, "def f(a: set[str]):\n    return sorted(a)"),
        (orders_of_sets, "def f(a: set[str]):\n    return sorted(x.id for x in a)"),
        (orders_of_sets, "def f(a):\n    a = set(a)\n    a = sorted(a)\n    return list(a)"),
        (sizes, "def f():\n    '''" + "x\n" * 100 + "'''\n"),
    ],
)
def test_what_is_allowed_passes(rule: Callable[[Module], Offences], source: str) -> None:
    assert _judge(rule, source) == []


def test_a_pure_module_may_not_know_the_clock_or_the_loop() -> None:
    path = "gossip/peerdisco_gossip/core.py"
    assert _judge(impurities, "import asyncio", path)
    assert _judge(impurities, "from time import monotonic", path)
    assert _judge(impurities, "async def f(): pass", path)
    assert _judge(impurities, "import random", path) == []
    assert _judge(impurities, "import asyncio", "gossip/peerdisco_gossip/driver.py") == []
