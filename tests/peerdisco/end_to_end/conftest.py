"""Real daemons: one cluster of three that all tests share, and nodes that a test starts itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target
from peerdisco.demo.nodes import DaemonProcess, daemons

WAIT_S = 20.0


class CommandLine:
    """Runs `peerdisco` as a person would."""

    def __call__(
        self, *arguments: str, peer: str = "", code: int | None = 0, stdin: str | bytes = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PEERDISCO")}
        done = subprocess.run(
            [sys.executable, "-m", "peerdisco", *arguments],
            capture_output=True,
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            env={**environment, **({"PEERDISCO": peer} if peer else {})},
            timeout=60,
            check=False,
        )
        out, err = done.stdout.decode("latin-1"), done.stderr.decode()
        assert code is None or done.returncode == code, f"exit code {done.returncode}: {err}"
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def json(self, *arguments: str, peer: str) -> Any:
        """The answer of a command as JSON."""
        return json.loads(self(*arguments, "--json", peer=peer).stdout)


class Nodes:
    """Starts nodes of a test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._started: list[DaemonProcess] = []

    def __call__(
        self, name: str, *options: str, join: str | None = None, wait: bool = True
    ) -> DaemonProcess:
        """Start a node; with `wait`, until it is ready."""
        node = DaemonProcess(self.root, name, options)
        self._started.append(node)
        node.start(join)
        if wait:
            node.wait_ready()
        return node

    def stop(self) -> None:
        """Stop all."""
        for node in self._started:
            node.stop()


def client(node: DaemonProcess) -> Cluster:
    """A client that starts at that node and shares nothing with others."""
    return Cluster(Session(parse_target(node.http)))


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="package")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DaemonProcess]]:
    """A cluster of three nodes that no test may harm."""
    with daemons(tmp_path_factory.mktemp("three"), 3, ("--slots", "2")) as nodes:
        yield nodes


@pytest.fixture
def cluster(three: list[DaemonProcess]) -> Iterator[Cluster]:
    """A client of the three nodes."""
    connected = client(three[0])
    yield connected
    connected.session.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Nodes of the test's own, stopped at its end."""
    started = Nodes(tmp_path)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def peerdisco() -> CommandLine:
    """The command line."""
    return CommandLine()


@pytest.fixture
def connect_to() -> Iterator[Callable[[DaemonProcess], Cluster]]:
    """Makes clients."""
    made: list[Cluster] = []

    def connect(node: DaemonProcess) -> Cluster:
        made.append(client(node))
        return made[-1]

    yield connect
    for connected in made:
        connected.session.close()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for what other processes do."""
    return wait_until
