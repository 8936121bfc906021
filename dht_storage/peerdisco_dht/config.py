"""Settings of the storage: limits and patience. Times are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Settings with defaults that fit a LAN.

    Attributes:
        call_timeout_s: Patience with one small call.
        transfer_timeout_s: Patience with a transfer that makes no progress.
        operation_timeout_s: Patience with one register operation, all retries included.
        hedge_s: After this long without an answer a second holder is asked too.
        transfers_max: Streams that one node receives, and that it sends for puts, at a time.
        repair_interval_s: How often a node checks that its blobs have all their copies.
        repair_concurrency: Copies that one node sends at a time for repair.
        repair_bytes_per_s: What one node sends for repair, and what it receives, while nobody
            puts or reads blobs through it and no task runs there.
        repair_busy_bytes_per_s: The same while somebody does. A blob that has only one copy left
            is sent without regard for others.
        retry_s: Pause before repair or handover tries again what failed.
        scrub_period_s: Time between the beginnings of two scrubs, which read every copy again.
        scrub_bytes_per_s: What one node reads for that.
        low_share: A node with less free space than this share of its file system takes no new
            copies of blobs, unless it has `low_bytes`.
        low_bytes: See `low_share`; the smaller of both counts.
        read_only_share: With less than this, nobody can put blobs through the node either.
        read_only_bytes: See `read_only_share`; the smaller of both counts.
        lease_s: How long the garbage collection leaves a blob alone that was put or pinned.
        trash_s: How long a condemned blob stays readable.
        collection_interval_s: Time between the beginnings of two garbage collections.
        mark_timeout_s: Patience with a node that reads the registers of some partitions.
    """

    call_timeout_s: float = 2.0
    transfer_timeout_s: float = 15.0
    operation_timeout_s: float = 8.0
    hedge_s: float = 0.05
    transfers_max: int = 16
    repair_interval_s: float = 600.0
    repair_concurrency: int = 4
    repair_bytes_per_s: int = 1 << 30
    repair_busy_bytes_per_s: int = 32 << 20
    retry_s: float = 1.0
    scrub_period_s: float = 14 * 86400.0
    scrub_bytes_per_s: int = 32 << 20
    low_share: float = 0.1
    low_bytes: int = 5 << 30
    read_only_share: float = 0.02
    read_only_bytes: int = 1 << 30
    lease_s: float = 86400.0
    trash_s: float = 86400.0
    collection_interval_s: float = 86400.0
    mark_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        """Raises ValueError when something would never move."""
        for name in (
            "transfers_max",
            "repair_concurrency",
            "repair_bytes_per_s",
            "repair_busy_bytes_per_s",
            "scrub_bytes_per_s",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")
