"""Raft for many small groups in one process.

`Groups` is what a node runs, `Group` what the users of one group hold, `Core` the pure protocol
below. Not here: what a group replicates (a `StateMachine`), how frames travel (`Links`,
`Datagrams`), and who is a member of a cluster. Start reading with the README beside this package.
"""

from peerdisco_election.config import RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.effects import LeaderChanged
from peerdisco_election.errors import CorruptLog, Dropped, NotLeader, RaftError, Unknown
from peerdisco_election.group import Group
from peerdisco_election.groups import Groups
from peerdisco_election.messages import BadMessage, Configuration, Recovery
from peerdisco_election.ports import Datagrams, Links, StateMachine
from peerdisco_election.recovery import describe as describe_recovery
from peerdisco_election.recovery import plan as plan_recovery
from peerdisco_election.sessions import Refusal, Session, Sessions, plain, register
from peerdisco_election.status import Cause, CoreStatus, Election, GroupStatus, Role
from peerdisco_election.storage import Store

__all__ = [
    "Groups",
    "Group",
    "StateMachine",
    "LeaderChanged",
    "NotLeader",
    "Dropped",
    "Unknown",
    "RaftError",
    "CorruptLog",
    "BadMessage",
    "Sessions",
    "Session",
    "Refusal",
    "register",
    "plain",
    "RaftConfig",
    "Links",
    "Datagrams",
    "Store",
    "GroupStatus",
    "CoreStatus",
    "Election",
    "Cause",
    "Recovery",
    "plan_recovery",
    "describe_recovery",
    "Role",
    "Configuration",
    "Core",
]
