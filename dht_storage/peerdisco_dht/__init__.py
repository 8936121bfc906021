"""DDFS: replicated blobs and tags in a Kademlia key space, under an agreed layout.

`Storage` is one node's whole storage room; `LayoutMachine` is the state that the Raft group
"layout" replicates, and `plan` says which changes it is due for. This package does no gossip, no
elections and no jobs; what it needs of them it names in `ports.py`. Start reading in `storage.py`.
"""

from peerdisco_dht.backlog import RepairProgress
from peerdisco_dht.blobs.acknowledgement import Durability
from peerdisco_dht.blobs.blobs import Blobs
from peerdisco_dht.blobs.identity import key_of_blob
from peerdisco_dht.blobs.putting import BlobInfo
from peerdisco_dht.census import Census, Holding
from peerdisco_dht.collection.collector import Collector, Progress
from peerdisco_dht.collection.collector import State as CollectionState
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import (
    BadName,
    Conflict,
    Denied,
    Forgotten,
    Limit,
    NoSuchBlob,
    NoSuchTag,
    OverQuota,
    StorageError,
    StorageFull,
    Unavailable,
)
from peerdisco_dht.health import Condition, Health
from peerdisco_dht.kademlia.service import Found, Kademlia
from peerdisco_dht.keys import key_of_name, partition_of_key
from peerdisco_dht.layout import (
    AddNodes,
    Command,
    FinishHandover,
    Layout,
    LayoutChange,
    LayoutMachine,
    NodeState,
    RemoveNodes,
    SetReplicas,
    SetState,
    SetVoters,
    StorageNode,
)
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.movement import Movement, Share
from peerdisco_dht.quotas import Quota, QuotaKind, Quotas
from peerdisco_dht.registers.registers import Registers, Versioned
from peerdisco_dht.scrub import ScrubPass, ScrubState
from peerdisco_dht.space import Space, SpaceState
from peerdisco_dht.storage import Storage
from peerdisco_dht.tags.answers import Tag, TagHistory, TagInfo, TagPage
from peerdisco_dht.tags.tags import TAG_OWNER, Tags
from peerdisco_dht.tags.tokens import Caller, TokenKind
from peerdisco_dht.upkeep import MemberView, UpkeepConfig, choose_voters, plan
from peerdisco_dht.usage import Question, Usage, Used
from peerdisco_dht.wanted import durability_of

__all__ = [
    "Storage",
    "StorageConfig",
    "Blobs",
    "BlobInfo",
    "Durability",
    "durability_of",
    "Tags",
    "Tag",
    "TagInfo",
    "TagPage",
    "TagHistory",
    "Caller",
    "TokenKind",
    "TAG_OWNER",
    "Registers",
    "Versioned",
    "Kademlia",
    "Found",
    "LayoutMachine",
    "Layout",
    "LayoutChange",
    "StorageNode",
    "NodeState",
    "Command",
    "AddNodes",
    "RemoveNodes",
    "SetState",
    "SetVoters",
    "SetReplicas",
    "FinishHandover",
    "Movement",
    "Share",
    "Census",
    "Holding",
    "Condition",
    "Health",
    "Usage",
    "Question",
    "Quota",
    "QuotaKind",
    "Quotas",
    "Used",
    "RepairProgress",
    "Space",
    "SpaceState",
    "ScrubState",
    "ScrubPass",
    "Collector",
    "CollectionState",
    "Progress",
    "key_of_name",
    "partition_of_key",
    "key_of_blob",
    "MemberView",
    "UpkeepConfig",
    "plan",
    "choose_voters",
    "encode",
    "decode",
    "BadMessage",
    "StorageError",
    "BadName",
    "NoSuchTag",
    "NoSuchBlob",
    "Conflict",
    "Denied",
    "Limit",
    "StorageFull",
    "OverQuota",
    "Unavailable",
    "Forgotten",
]
