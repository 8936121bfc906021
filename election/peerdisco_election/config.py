"""Every limit and interval of the room, in one frozen value.

Times are seconds, sizes are bytes. The defaults suit machines on one network; tests and the
simulator shrink them. Nothing here may differ between the members of a group in a way that
affects safety: these are only about speed and memory.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """How patient, how eager and how big.

    Attributes:
        election_timeout: A leader that is silent for this long is doubted; elections are spread
            over one to two of it (paper, section 5.2).
        heartbeat_interval: Between the heartbeats of a pair of nodes, and between reminders to a
            follower that has not caught up.
        evidence_delay_min: Shortest wait between evidence against a leader and an election.
        evidence_delay_max: Longest such wait; also how long evidence outweighs a late heartbeat.
        resend_interval: Between repeated requests of a candidate to voters that did not answer.
        notice_delay: How long news of a commit waits for entries to travel with; 0 for not at all.
        append_bytes_max: Of entries in one Append; a single larger entry travels alone.
        append_entries_max: Entries in one Append.
        inflight_appends_max: Unacknowledged Appends to one follower.
        inflight_bytes_max: Bytes in them.
        command_bytes_max: One command.
        uncommitted_bytes_max: A leader refuses proposals beyond this backlog.
        proposals_max: Proposals of one group that wait for the next turn.
        reads_max: Reads of one group that wait for a quorum.
        apply_bytes_max: Entries handed to the state machine in one step.
        snapshot_entries: A snapshot is taken after this many applied entries, once they are also
            as many bytes as the last snapshot.
        trailing_entries: Entries kept before a snapshot, for followers slightly behind.
        snapshot_chunk_bytes: One piece of a snapshot on the wire.
        snapshot_bytes_max: A larger snapshot is neither taken nor accepted.
        frame_bytes_max: A frame is closed when it has grown to about this size.
        inbox_frames_max: Frames that wait for the next turn; more are dropped and counted.
        pre_vote: Ask before standing. Off in tests only.
        check_quorum: A leader that hears no quorum steps down. Off in tests only.
    """

    election_timeout: float = 1.0
    heartbeat_interval: float = 0.4
    evidence_delay_min: float = 0.01
    evidence_delay_max: float = 0.1
    resend_interval: float = 0.1
    notice_delay: float = 0.005
    append_bytes_max: int = 1 << 20
    append_entries_max: int = 4096
    inflight_appends_max: int = 64
    inflight_bytes_max: int = 8 << 20
    command_bytes_max: int = 8 << 20
    uncommitted_bytes_max: int = 64 << 20
    proposals_max: int = 8192
    reads_max: int = 8192
    apply_bytes_max: int = 4 << 20
    snapshot_entries: int = 2000
    trailing_entries: int = 500
    snapshot_chunk_bytes: int = 512 << 10
    snapshot_bytes_max: int = 256 << 20
    frame_bytes_max: int = 1 << 20
    inbox_frames_max: int = 4096
    pre_vote: bool = True
    check_quorum: bool = True
