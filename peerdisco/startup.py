"""What happens before a node runs: its data directory, its ports, its address, its log.

Everything here may refuse with a ConfigurationError; nothing of the node exists yet then.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError

from peerdisco.addresses import Address, format_address, is_loopback
from peerdisco.config import LOOPBACK
from peerdisco.errors import ConfigurationError
from peerdisco.security.tokens import DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT, parse_address

FORMAT_FILE = "format"
FORMAT = 1
PORTS_FILE = "ports.json"
NEW = ".new"
"""Ends the name of a file that is to replace another."""

PORT_TRIES = 50
PORT_STEP = 10


def data_directory(option: str | None) -> Path:
    """Where the node keeps its data: the option, the environment, or the place the system has."""
    if option or os.environ.get("PEERDISCO_DATA"):
        return Path(option or os.environ["PEERDISCO_DATA"]).expanduser().absolute()
    if os.environ.get("STATE_DIRECTORY"):  # given by systemd
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0 and sys.platform.startswith("linux"):
        return Path("/var/lib/peerdisco")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "peerdisco"


@contextlib.contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Own a data directory for as long as the node runs; made when missing.

    Raises ConfigurationError when it cannot be used, belongs to something else, was written by a
    newer peerdisco, or is in use; it is left as it was.
    """
    with contextlib.ExitStack() as owned:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_format(root)
            lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            owned.callback(os.close, lock)
            _lock(root, lock)
            _keep(root / FORMAT_FILE, f"peerdisco {FORMAT}\n")
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {root} cannot be used: {error.strerror}. "
                "Give another one with --data or PEERDISCO_DATA."
            ) from None
        yield


def _lock(root: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        raise ConfigurationError(
            f"the data directory {root} is in use by the peerdisco with process id {owner}. "
            "Give each node a directory of its own with --data."
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _keep(path: Path, text: str) -> None:
    """Write a small file whole or not at all; a full disk must not cost what it said before."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(errors="replace") == text:
            return
    temporary = path.with_name(path.name + NEW)
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _check_format(root: Path) -> None:
    marker = root / FORMAT_FILE
    if not marker.exists():
        ours = ("lock", FORMAT_FILE + NEW)
        others = sorted(entry.name for entry in root.iterdir() if entry.name not in ours)
        if others:
            raise ConfigurationError(
                f"{root} is not a peerdisco data directory: it holds {', '.join(others[:3])} and "
                "no 'format' file. Give an empty or new directory with --data."
            )
        return
    words = marker.read_text(errors="replace").split()
    if len(words) != 2 or words[0] != "peerdisco" or not words[1].isdecimal():
        raise ConfigurationError(f"{marker} is not understood; is {root} the right directory?")
    if int(words[1]) > FORMAT:
        raise ConfigurationError(
            f"{root} was written by a newer peerdisco (format {words[1]}, this one reads "
            f"{FORMAT}). Upgrade this one, or give another directory with --data."
        )


def choose_ports(root: Path, listen: Address | None, http: Address | None) -> tuple[int, int]:
    """The peer port and the client port.

    Given ports are taken as they are, those of the last start are taken again, and at the first
    start the next free pair is taken where the usual one is busy. Raises ConfigurationError
    that names the port and the protocol when a port that was asked for is busy.
    """
    saved = _saved_ports(root)
    peer = listen[1] if listen else saved[0]
    client = http[1] if http else saved[1]
    peer_host = listen[0] if listen else ""
    client_host = http[0] if http else LOOPBACK
    first_start = not (root / PORTS_FILE).exists()
    for _ in range(PORT_TRIES):
        busy = busy_port(peer_host, peer, client_host, client)
        if busy is None:
            _keep(root / PORTS_FILE, json.dumps({"peer": peer, "http": client}))
            return peer, client
        if not first_start or (listen and http):
            break
        peer = peer if listen else peer + PORT_STEP
        client = client if http else client + PORT_STEP
    raise ConfigurationError(
        f"{busy}. Is another node running here? Choose other ports with --listen HOST:PORT "
        "and --http HOST:PORT."
    )


def busy_port(peer_host: str, peer: int, client_host: str, client: int) -> str | None:
    """In words, the first of a node's three sockets that cannot be bound; None when all can."""
    for host, port, kind, name in (
        (peer_host, peer, socket.SOCK_STREAM, "TCP"),
        (peer_host, peer, socket.SOCK_DGRAM, "UDP"),
        (client_host, client, socket.SOCK_STREAM, "TCP"),
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                where = format_address((host or "0.0.0.0", port))  # noqa: S104 - a message
                return f"cannot listen on {where} ({name}): {error.strerror}"
    return None


def _saved_ports(root: Path) -> tuple[int, int]:
    try:
        saved = json.loads((root / PORTS_FILE).read_text())
        return int(saved["peer"]), int(saved["http"])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_PEER_PORT, DEFAULT_HTTP_PORT


def advertised_address(option: str | None, listen_host: str | None, port: int) -> Address:
    """Where other nodes reach this one: as told, else where it listens, else the way out.

    A name is resolved here and now, as members tell each other addresses, not names. Raises
    ConfigurationError when that fails, and BadToken when the option is no address at all.
    """
    if option:
        host, port = parse_address(option, port)
        return _numeric(host), port
    if listen_host and listen_host not in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
        return _numeric(listen_host), port
    return outward_host(), port


def _numeric(host: str) -> str:
    """The address of a host; IPv4 where it has both."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigurationError(
            f"the address of {host} cannot be found ({error.strerror}). "
            "Give one that other nodes reach with --advertise HOST[:PORT]."
        ) from None
    found.sort(key=lambda entry: entry[0] is not socket.AF_INET)
    return str(found[0][4][0])


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in many containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def outward_host() -> str:
    """The address of the interface that leads out of this machine; loopback when none does."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))  # chooses a route; a datagram socket sends nothing here
            host = str(probe.getsockname()[0])
            if not is_loopback(host):
                return host
    return LOOPBACK


class LineFormatter(logging.Formatter):
    """One line for an event: time, level and message; journald adds the time itself."""

    def __init__(self, *, timestamps: bool) -> None:
        when = "%(asctime)s.%(msecs)03d " if timestamps else ""
        super().__init__(f"{when}%(levelname)-7s %(name)s %(message)s", "%H:%M:%S")


def set_up_logging(level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(timestamps="JOURNAL_STREAM" not in os.environ))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_about_us)


def _is_about_us(record: logging.LogRecord) -> bool:
    """Not what a stranger sent that is no HTTP: it was refused, and anybody could fill the log.

    Nor that the server itself stumbles when a request ends that it gave up waiting for while it
    stopped (aiohttp 3 completes a future there that it has cancelled before). What a handler raises
    is logged in other words.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, asyncio.InvalidStateError):
        return record.msg != "Unhandled exception"
    return not isinstance(error, HttpProcessingError)
