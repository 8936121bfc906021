"""A cluster of real daemons, each on a host of its own where this machine allows that.

With namespaces every daemon has an address of its own and its REST port speaks TLS, as between real
machines; without, all are on loopback. All know the cluster's secret from the start, so joining is
a matter of addresses. `open_cluster` leaves nothing behind, whatever happens within.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco.client.cluster import Cluster as Rest
from peerdisco.client.session import Session
from peerdisco.client.target import Target
from peerdisco.errors import PeerdiscoError, TimedOut
from peerdisco.joining import join_token
from peerdisco.node import API_PURPOSE
from peerdisco.security.certificates import authority_certificate, fingerprint
from peerdisco.security.secrets import SECRET_BYTES, ClusterSecret
from peerdisco.security.tokens import make_grant
from peerdisco_sim.real.abilities import Abilities
from peerdisco_sim.real.daemons import Daemon
from peerdisco_sim.real.namespaces import PREFIX, Switch, Wire
from peerdisco_sim.real.power import PowerDisk
from peerdisco_webui.messages import MemberList, MemberState

T = TypeVar("T")

START_S_MAX = 60.0
JOIN_S_MAX = 180.0
GRANT_LIFE_S = 7 * 86400.0
PATIENCE_S = 60.0
POLL_S = 0.1


class RealCluster:
    """Daemons, and the host of the clients.

    Attributes:
        daemons: By name, "n1" first.
        client_wire: The clients' host; None for loopback.
    """

    def __init__(self, root: Path, switch: Switch | None, abilities: Abilities) -> None:
        self.daemons: dict[str, Daemon] = {}
        self.client_wire: Wire | None = switch.add() if switch is not None else None
        self._root = root
        self._switch = switch
        self._abilities = abilities
        self._secret = ClusterSecret(secrets.token_bytes(SECRET_BYTES))
        self._authority = authority_certificate(self._secret)
        self._grant = make_grant(
            self._secret, API_PURPOSE, _expiry(), secrets.token_bytes(8)
        )  # fmt: skip

    def start(self, count: int) -> None:
        """Start that many daemons. They are one cluster when `settled` says so."""
        for _ in range(count):
            self.add()

    def add(self) -> Daemon:
        """One more daemon, on a new host, that joins through those that are there."""
        name = f"n{len(self.daemons) + 1}"
        wire = self._switch.add() if self._switch is not None else None
        disk = None if self._abilities.no_power else PowerDisk(self._root, name)
        daemon = Daemon(name, self._root, wire, disk)
        others = list(self.daemons.values())[:3]
        self.daemons[name] = daemon
        if disk is not None:
            disk.make()
        daemon.prepare(self._secret)
        addresses = tuple(other.peer_address for other in others)
        nonce = secrets.token_bytes(8)
        daemon.start(join_token(self._secret, addresses, _expiry(), nonce) if others else None)
        if not others:
            self.wait(lambda: self._answers(daemon), START_S_MAX, f"{name} did not start")
        return daemon

    def rest(self, first: int = 0) -> Rest:
        """A client of its own that knows all daemons; call it on the clients' host.

        It prefers the daemon whose number, counted round and round, is `first`.
        """
        known = [daemon.http_address for daemon in self.daemons.values()]
        first %= len(known)
        addresses = (*known[first:], *known[:first])
        if self._switch is None:
            target = Target(addresses)
        else:
            mark = fingerprint(self._authority.public_bytes(Encoding.DER))
            target = Target(addresses, mark, self._grant)
        return Rest(Session(target, patience_s=PATIENCE_S))

    def ask(self, daemon: Daemon, path: str, answer: type[T]) -> T:
        """What one daemon answers to a GET. Raises OSError when it does not."""
        token = self._grant if self._switch is not None else ""
        return daemon.ask(path, answer, self._context(), token)

    def settled(self) -> str:
        """Why not all daemons agree that all are alive and hold data; "" when they do."""
        for daemon in self.daemons.values():
            if not daemon.is_running:
                return f"{daemon.name} is down:\n{daemon.tail()}"
            try:
                members = self.ask(daemon, "/api/v1/members", MemberList).members
            except OSError as error:
                return str(error)
            good = [m for m in members if m.state is MemberState.ALIVE and m.storage]
            if len(good) != len(self.daemons):
                return f"{daemon.name} sees {len(good)} of {len(self.daemons)} members"
        return ""

    def wait_settled(self, seconds: float = JOIN_S_MAX) -> None:
        """Wait until all agree. Raises TimedOut with what was missing."""
        self.wait(lambda: not self.settled(), seconds, "the cluster does not settle", self.settled)

    def wait(
        self,
        holds: Callable[[], bool],
        seconds: float,
        failure: str,
        explain: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait for a condition. Raises TimedOut, or PeerdiscoError when a first start failed."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimedOut(f"{failure} in {seconds:.0f} s: {explain()}")
            time.sleep(POLL_S)

    def close(self) -> None:
        """End every daemon and remove what belongs to it. Idempotent."""
        for daemon in self.daemons.values():
            daemon.close()

    def _answers(self, daemon: Daemon) -> bool:
        if not daemon.is_running:
            raise PeerdiscoError(f"{daemon.name} ended at its start:\n{daemon.tail()}")
        with contextlib.suppress(OSError):
            self.ask(daemon, "/api/v1/members", MemberList)
            return True
        return False

    def _context(self) -> ssl.SSLContext | None:
        if self._switch is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(
            cadata=self._authority.public_bytes(Encoding.PEM).decode("ascii")
        )
        return context


@contextlib.contextmanager
def open_cluster(abilities: Abilities) -> Iterator[RealCluster]:
    """A cluster without daemons yet; everything that it comes to hold is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        switch = None
        if not abilities.no_network:
            switch = Switch(f"{PREFIX}{os.getpid()}")
            stack.callback(switch.close)
            switch.open()
        cluster = RealCluster(root, switch, abilities)
        stack.callback(cluster.close)
        yield cluster


def _expiry() -> float:
    return time.time() + GRANT_LIFE_S
