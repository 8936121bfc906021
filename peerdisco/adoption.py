"""Which cluster a data directory belongs to, and how an empty one changes hands.

A node whose cluster holds nothing yet may join another one; it then forgets its own as if it had
never been, since two clusters that both believe in an agreement of their own must not mix. What is
to be is written down first, so that a power cut amid the change is made good by the next start.
How a secret is obtained stands in `joining.py`; how members find each other, in `membership.py`.
"""

from __future__ import annotations

from peerdisco.addresses import Address
from peerdisco.errors import ConfigurationError, JoinRefused
from peerdisco.identity import load_secret, save_secret
from peerdisco.machine import Machine, Store
from peerdisco.membership import ROSTER_PATH, SEEDS_PATH, Seeds
from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco.security.secrets import ClusterSecret

INTENT_PATH = "identity/adopting"
STORES = ("log", "index")
BATCH_ROWS = 1000
END = b"\xff"
AGREEMENT = (b"dht/collection/", b"dht/layout", b"dht/scrub", b"raft/layout/")
"""Rows of these beginnings say who the nodes are and how far their upkeep is; all other rows are
somebody's data or jobs. Sorted."""


class Intent(Message, frozen=True, array_like=True):
    """The cluster that the data directory is about to belong to.

    Attributes:
        secret: Of that cluster.
        seeds: Where its nodes are.
    """

    secret: bytes
    seeds: tuple[Address, ...]


async def adopt(machine: Machine, secret: ClusterSecret, seeds: tuple[Address, ...]) -> None:
    """Make the data directory belong to the cluster of the secret.

    Raises JoinRefused, and changes nothing, when it holds data of another cluster.
    """
    if await load_secret(machine.disk) is not None and await holds_data(machine):
        raise JoinRefused(
            "this node holds data of another cluster, which joining would leave behind. "
            "Start it with a new --data directory, or move its data first: "
            "`peerdisco ddfs cat` here, `peerdisco ddfs chunk` there."
        )
    await machine.disk.write(INTENT_PATH, encode(Intent(secret.raw, seeds)))
    await finish_adoption(machine)


async def finish_adoption(machine: Machine) -> None:
    """Do what was written down to be done, if anything was; to be called before every start."""
    disk = machine.disk
    if await disk.size(INTENT_PATH) is None:
        return
    try:
        intent = decode(await disk.read(INTENT_PATH), Intent)
    except BadMessage as error:
        raise ConfigurationError(
            f"{INTENT_PATH} in the data directory is damaged: {error}. "
            "Start with an empty data directory as a new node."
        ) from None
    for name in STORES:
        store = machine.open_store(name)
        try:
            await _clear(store)
        finally:
            await store.close()
    await disk.remove(ROSTER_PATH)
    await disk.write(SEEDS_PATH, encode(Seeds(intent.seeds)))
    await save_secret(disk, ClusterSecret(intent.secret))
    await disk.remove(INTENT_PATH)


async def holds_data(machine: Machine) -> bool:
    """Whether the data directory holds anything that leaving its cluster would leave behind."""
    for name in STORES:
        store = machine.open_store(name)
        try:
            if _holds_data(store):
                return True
        finally:
            await store.close()
    return False


def _holds_data(store: Store) -> bool:
    start = b""
    while rows := store.scan(start, END, limit=BATCH_ROWS):
        if any(not key.startswith(AGREEMENT) for key, _ in rows):
            return True
        start = rows[-1][0] + b"\0"
    return False


async def _clear(store: Store) -> None:
    while rows := store.scan(b"", END, limit=BATCH_ROWS):
        await store.commit([(key, None) for key, _ in rows])
