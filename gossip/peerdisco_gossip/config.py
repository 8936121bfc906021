"""Every time and limit of the membership protocol in one frozen value.

The default is for a local network. `local()` is for several nodes on one machine, where the
network is instant and the processor is what everybody fights for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """Times in seconds; names of Lifeguard's parameters in parentheses.

    Attributes:
        probe_interval_s: One member is probed per interval (SWIM's protocol period).
        probe_timeout_s: How long a direct probe waits before helpers are asked.
        indirect_probes: How many helpers are asked (SWIM's k).
        nack_share: A helper reports failure after this share of the time that the asker has left.
        suspicion_mult: Shortest suspicion in probe intervals, times log10 of the members (alpha).
        suspicion_max_mult: Longest suspicion in terms of the shortest (beta).
        confirmations: Independent accusers after whom the shortest suspicion applies (K).
        evidence_timeout_s: How long the immediate probe after outside evidence waits.
        evidence_suspicion_s: Length of a suspicion that outside evidence supports.
        awareness_max: Local health runs from 0 to this less one and stretches probes (S).
        stall_tolerance_s: A tick this late means that the node itself stood still.
        gossip_interval_s: How often news is told while there is any.
        gossip_fanout: To how many members per interval.
        retransmit_mult: A rumour is told this often, times ln of the members (lambda).
        metadata_share: Share of the updates' room in a packet that membership may not take.
        queue_bytes_max: Longest queue of rumours, per class.
        gossip_to_dead_s: For how long the dead still hear the news, so that they can object.
        push_pull_interval_s: How often the full state is swapped with somebody (TCP).
        reconnect_interval_s: How often one of the dead is tried again.
        remember_s: For how long the dead and those who left are remembered.
        members_max: More members than this are not admitted.
        leave_timeout_s: How long leaving may wait for its news to spread.
        exchange_timeout_s: Deadline of one push-pull.
    """

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    indirect_probes: int = 3
    nack_share: float = 0.8
    suspicion_mult: float = 4.0
    suspicion_max_mult: float = 6.0
    confirmations: int = 3
    evidence_timeout_s: float = 0.25
    evidence_suspicion_s: float = 1.0
    awareness_max: int = 8
    stall_tolerance_s: float = 0.25
    gossip_interval_s: float = 0.2
    gossip_fanout: int = 3
    retransmit_mult: int = 3
    metadata_share: float = 0.4
    queue_bytes_max: int = 512 * 1024
    gossip_to_dead_s: float = 30.0
    push_pull_interval_s: float = 30.0
    reconnect_interval_s: float = 30.0
    remember_s: float = 86400.0
    members_max: int = 10_000
    leave_timeout_s: float = 3.0
    exchange_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        assert 0 < self.probe_timeout_s < self.probe_interval_s
        assert 0 < self.nack_share < 1
        assert 0 <= self.metadata_share < 1
        assert self.suspicion_max_mult >= 1
        assert self.awareness_max >= 1

    @classmethod
    def local(cls) -> GossipConfig:
        """For nodes that share one machine.

        The shortest suspicion (1.4 s) is what lets a node stand still for a second without being
        declared dead: it needs that second, and a moment to object.
        """
        return cls(
            probe_interval_s=0.35,
            probe_timeout_s=0.15,
            suspicion_mult=4.0,
            suspicion_max_mult=1.7,
            evidence_timeout_s=0.1,
            evidence_suspicion_s=0.6,
            awareness_max=3,
            stall_tolerance_s=0.05,
            gossip_interval_s=0.05,
            gossip_to_dead_s=5.0,
            push_pull_interval_s=5.0,
            reconnect_interval_s=2.0,
            leave_timeout_s=1.0,
            exchange_timeout_s=5.0,
        )
