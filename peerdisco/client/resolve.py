"""Which cluster a client talks to.

`peer=`, else the environment variable PEERDISCO, else this machine's node on 127.0.0.1:8989, else
an embedded one-node cluster that ends with this process. One value is one shared `Cluster`.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from peerdisco.addresses import Address
from peerdisco.client.cluster import Cluster
from peerdisco.client.connection import NETWORK_ERRORS, Connection, unchecked_context
from peerdisco.client.errors import NoCluster
from peerdisco.client.session import Session
from peerdisco.client.target import LOCAL, Target, parse_target

if TYPE_CHECKING:
    import ssl

VARIABLE = "PEERDISCO"
PROBE_TIMEOUT_S = 0.5
CLUSTERS_MAX = 16

Peer = str | Cluster | None
"""A cluster, its address or client string, or None for the default."""

_starting = threading.Lock()


def connect(peer: Peer = None) -> Cluster:
    """The cluster that `peer` means.

    Nothing is sent yet, except to find out whether a node runs on this machine. Raises BadPeer,
    NoCluster when this machine's node asks for a client string, and
    PeerdiscoError when an embedded node cannot be started.
    """
    if isinstance(peer, Cluster):
        return peer
    with _starting:
        if text := (peer or os.environ.get(VARIABLE, "")).strip():
            return _cluster(parse_target(text))
        return _default()


def find(peer: Peer = None) -> Cluster:
    """Like `connect`, but never starts an embedded node: for commands that look at a cluster."""
    if isinstance(peer, Cluster):
        return peer
    text = (peer or os.environ.get(VARIABLE, "")).strip()
    return _cluster(parse_target(text) if text else Target((LOCAL,)))


def is_node(address: Address, context: ssl.SSLContext | None = None) -> bool:
    """Whether a peerdisco node serves HTTP at an address; quick, and never raises."""
    connection = Connection(address, context)
    try:
        response = connection.exchange("GET", "/healthz", b"", {}, PROBE_TIMEOUT_S)
        answer = msgspec.json.decode(response.read(4096))
        return isinstance(answer, dict) and "peerdisco" in answer
    except (*NETWORK_ERRORS, msgspec.MsgspecError):
        return False
    finally:
        connection.close()


@lru_cache(maxsize=1)
def _default() -> Cluster:
    if is_node(LOCAL):
        return _cluster(Target((LOCAL,)))
    if is_node(LOCAL, unchecked_context()):
        raise NoCluster(
            "the node of this machine serves its clients by TLS, so a program needs a client "
            "string: set PEERDISCO to what the node printed behind `Use:` when it started"
        )
    from peerdisco.client.embedded import start

    return _cluster(Target((start(),)))


@lru_cache(maxsize=CLUSTERS_MAX)
def _cluster(target: Target) -> Cluster:
    return Cluster(Session(target))
