"""The daemon: one node as a process, from its options to its last signal.

`run` is what the command `peerdisco` calls and blocks until the node has stopped; `start_embedded`
runs a one-node cluster in a thread of a client's process. What a node is made of stands in
`node.py`; what is refused before there is one, in `startup.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peerdisco.addresses import Address, is_loopback
from peerdisco.adoption import adopt, finish_adoption
from peerdisco.config import LOOPBACK, NodeConfig, UdpLibrary
from peerdisco.errors import ConfigurationError, PeerdiscoError
from peerdisco.host.machine import host_machine
from peerdisco.host.memory import keep_freed_memory
from peerdisco.host.ports import free_ports
from peerdisco.identity import KEY_BYTES, load_secret
from peerdisco.joining import is_for, redeem_token
from peerdisco.machine import Machine
from peerdisco.membership import UDP_TIMEOUT_S, no_datagrams
from peerdisco.node import UDP_PORTS, Node, run_node
from peerdisco.reachability import Reachability
from peerdisco.security.secrets import ClusterSecret, node_id_of_private
from peerdisco.security.tokens import (
    DEFAULT_HTTP_PORT,
    DEFAULT_PEER_PORT,
    JOIN_PREFIX,
    BadToken,
    Token,
    parse_address,
    parse_token,
)
from peerdisco.settings import knob_of, parse_settings
from peerdisco.startup import (
    advertised_address,
    available_cores,
    choose_ports,
    claimed,
    data_directory,
    set_up_logging,
)
from peerdisco_gossip import Datagrams, KeyRing, Seal

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
EMBEDDED_START_TIMEOUT_S = 20.0
EMBEDDED_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line was told; None means: find a good value.

    Attributes:
        join: A join token, or `-` to read it from standard input.
        listen: `HOST[:PORT]` of the peer port.
        advertise: `HOST[:PORT]` where other nodes reach this one.
        http: `HOST[:PORT]` of the client port.
        data: The data directory.
        name: The node's name for people.
        slots: Tasks at a time.
        stores: Whether the node offers its disk to DDFS.
        zone: What fails together with this node.
        settings: `NAME=VALUE` each; see `peerdisco.settings`.
        udp: Which library serves the UDP port.
        log_level: Of the log on standard error.
    """

    join: str | None = None
    listen: str | None = None
    advertise: str | None = None
    http: str | None = None
    data: str | None = None
    name: str | None = None
    slots: int | None = None
    stores: bool = True
    zone: str = ""
    settings: tuple[str, ...] = ()
    udp: str = UdpLibrary.AIOUDP
    log_level: str = "info"


def run(options: Options) -> int:
    """Run a node until a signal stops it; returns the exit code.

    Raises PeerdiscoError, with nothing started, when the node cannot run.
    """
    set_up_logging(options.log_level)
    keep_freed_memory()
    knob = knob_of(parse_settings(options.settings))
    root = data_directory(options.data)
    try:
        with claimed(root), host_machine(root, knob) as machine:
            return asyncio.run(_serve(machine, root, options))
    except BrokenPipeError:
        raise  # nobody reads what we print
    except OSError as error:
        raise PeerdiscoError(
            f"the node cannot run: {error.strerror or error}. Its data directory is {root}."
        ) from error


async def _serve(machine: Machine, root: Path, options: Options) -> int:
    token = _token(options.join)
    config = _configure(root, options, token)

    def announce(node: Node) -> None:
        print(_welcome(node, root), flush=True)

    stop_signals = _StopSignals(_this_task().cancel)
    try:
        await finish_adoption(machine)
        if token is not None:
            await _join(machine, config, token)
        await run_node(machine, config, announce)
    except asyncio.CancelledError:
        if not stop_signals.asked:
            raise
    return 0


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _join(machine: Machine, config: NodeConfig, token: Token) -> None:
    """Redeem a join token, and make the data directory belong to the token's cluster.

    Nothing on disk changes before the cluster has answered by TCP and by UDP. A node that belongs
    to it already has nothing to redeem, so the token may stay in its command line for ever.
    """
    known = await load_secret(machine.disk)
    if known is not None and is_for(token, known):
        return
    secret = await redeem_token(token, machine.wall_time)
    if not await _datagrams_pass(machine, config, secret, token.addresses):
        raise no_datagrams(token.addresses)
    await adopt(machine, secret, token.addresses)


async def _datagrams_pass(
    machine: Machine, config: NodeConfig, secret: ClusterSecret, addresses: tuple[Address, ...]
) -> bool:
    sender = node_id_of_private(machine.entropy(KEY_BYTES))  # nobody: it only asks and is gone
    seal = Seal(KeyRing([secret.gossip_key]), sender, machine.entropy(8))
    open_port = UDP_PORTS[config.udp]
    datagrams = await Datagrams.open(sender, seal, config.udp_host, config.peer_port, open_port)
    try:
        return await Reachability(datagrams).reach(list(addresses), timeout=UDP_TIMEOUT_S)
    finally:
        await datagrams.aclose()


def _token(option: str | None) -> Token | None:
    if option is None:
        return None
    try:
        return parse_token(sys.stdin.readline() if option == "-" else option, JOIN_PREFIX)
    except BadToken as error:
        raise ConfigurationError(f"--join: {error}") from None


def _configure(root: Path, options: Options, token: Token | None) -> NodeConfig:
    listen = _address(options.listen, "--listen", DEFAULT_PEER_PORT)
    http = _address(options.http, "--http", DEFAULT_HTTP_PORT)
    peer_port, http_port = choose_ports(root, listen, http)
    listen_host = listen[0] if listen else None
    try:
        advertise = advertised_address(options.advertise, listen_host, peer_port)
    except BadToken as error:
        raise ConfigurationError(f"--advertise: {error}") from None
    return NodeConfig(
        name=options.name or socket.gethostname(),
        advertise=advertise,
        listen_host=listen_host,
        peer_port=peer_port,
        names=(parse_address(options.advertise, peer_port)[0],) if options.advertise else (),
        http_host=http[0] if http else LOOPBACK,
        http_port=http_port,
        slots=options.slots or available_cores(),
        stores=options.stores,
        zone=options.zone,
        seeds=token.addresses if token else (),
        local=is_loopback(advertise[0]),
        udp=UdpLibrary(options.udp),
    )


def _address(option: str | None, flag: str, default_port: int) -> Address | None:
    if option is None:
        return None
    try:
        return parse_address(option, default_port)
    except BadToken as error:
        raise ConfigurationError(f"{flag}: {error}") from None


def _welcome(node: Node, root: Path) -> str:
    members = len(node.alive())
    count = "a cluster of its own" if members == 1 else f"a cluster of {members} nodes"
    return (
        f"Node {node.config.name} runs in {count}. Data: {root}\n"
        f"  Look:    {node.web_address}\n"
        f"  Join:    {node.join_command()}\n"
        f"  Use:     PEERDISCO={node.client_string()} python your_job.py"
    )


class _StopSignals:
    """The first SIGTERM or SIGINT stops the node, the second one ends the process at once."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self.asked = False
        self._stop = stop
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
        logger.info("stopping signal=%s", number.name)
        # Whatever hangs in the orderly way out must not hold the machine's own shutdown up.
        timer = threading.Timer(STOP_TIMEOUT_S, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()
        self._stop()


class Embedded:
    """A one-node cluster in a thread of this process, with data that ends with it."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="peerdisco-embedded-"))
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[object] | None = None
        self.http_address: Address = (LOOPBACK, 0)
        self._thread = threading.Thread(target=self._run, name="peerdisco", daemon=True)
        self._thread.start()
        if not self._ready.wait(EMBEDDED_START_TIMEOUT_S) or self._failure is not None:
            self.close()
            raise PeerdiscoError(f"the embedded node did not start: {self._failure or 'timeout'}")

    def close(self) -> None:
        """Stop the node and delete its data. Idempotent."""
        if self._loop is not None and self._running is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._running.cancel)
        self._thread.join(EMBEDDED_STOP_TIMEOUT_S)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self) -> None:
        try:
            with host_machine(self._directory) as machine:
                asyncio.run(self._main(machine))
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _main(self, machine: Machine) -> None:
        peer_port, http_port = free_ports(LOOPBACK, 2)
        self.http_address = (LOOPBACK, http_port)
        config = NodeConfig(
            name="embedded",
            advertise=(LOOPBACK, peer_port),
            listen_host=LOOPBACK,
            peer_port=peer_port,
            http_port=http_port,
            slots=available_cores(),
            local=True,
        )
        self._loop, self._running = asyncio.get_running_loop(), _this_task()
        with contextlib.suppress(asyncio.CancelledError):
            await run_node(machine, config, lambda _: self._ready.set())


def start_embedded() -> Embedded:
    """Start a one-node cluster in this process. Raises PeerdiscoError when it cannot start."""
    return Embedded()
