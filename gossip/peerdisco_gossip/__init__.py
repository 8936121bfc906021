"""SWIM membership with Lifeguard over sealed datagrams.

This package tells who is in the cluster and who is not, spreads small facts about the members, and
owns the node's UDP port with its sealed channels. It does not decide what follows from a death, it
moves no data, and it opens no TCP connection: push-pull goes through an `Exchange` that is handed
in. Start reading at `core.py`; `README.md` explains the invariants.
"""

from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.datagrams import (
    CHANNEL_DHT,
    CHANNEL_GOSSIP,
    CHANNEL_HEARTBEATS,
    Datagrams,
)
from peerdisco_gossip.keys import KeyRing
from peerdisco_gossip.limits import PAYLOAD_BYTES_MAX
from peerdisco_gossip.members import Address, Member, MemberChanged, MemberState
from peerdisco_gossip.membership import Exchange, Membership
from peerdisco_gossip.messages import BadMessage
from peerdisco_gossip.port import Port, open_aioudp_port, open_asyncio_port
from peerdisco_gossip.seal import Seal

__all__ = [
    "Membership",
    "Member",
    "MemberState",
    "MemberChanged",
    "GossipConfig",
    "Exchange",
    "Datagrams",
    "CHANNEL_GOSSIP",
    "CHANNEL_DHT",
    "CHANNEL_HEARTBEATS",
    "PAYLOAD_BYTES_MAX",
    "Seal",
    "KeyRing",
    "Port",
    "open_aioudp_port",
    "open_asyncio_port",
    "Address",
    "BadMessage",
]
