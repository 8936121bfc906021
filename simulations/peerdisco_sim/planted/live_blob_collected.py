"""The garbage collection condemns what tags name and leases protect."""

from __future__ import annotations

from peerdisco_dht.blobs.messages import BlobRow, Condemned, Verdict, Where
from peerdisco_dht.collection import rules
from peerdisco_dht.collection.rules import Finding, Terms
from peerdisco_sim.planted.bug import Bug, focused, put
from peerdisco_sim.schedule import Schedule


def plant() -> None:
    """Look at the trash time only."""

    def judge(row: BlobRow, terms: Terms, *, home: bool, named: bool, held: bool) -> Finding:
        del named, held
        if row.where is Where.NOWHERE or not home:
            return Finding(Verdict.KEEP, "not here", row.condemned)
        if row.condemned is None:
            condemned = Condemned(terms.number, terms.began)
            return Finding(Verdict.CONDEMN, "planted", condemned)
        if row.condemned.generation < terms.number:
            return Finding(Verdict.REMOVE, "planted")
        return Finding(Verdict.KEEP, "in the trash", row.condemned)

    put(rules, "judge", judge)


def schedule(seed: int) -> Schedule:
    """Collections every few seconds, where the product has one a day."""
    return focused(
        seed,
        work={"blobs": {}},
        knobs={"storage.collection_interval_s": 5.0, "storage.trash_s": 5.0},
    )


BUG = Bug(
    "live-blob-collected",
    "the garbage collection removes blobs that a tag names",
    ("B6", "B1", "B5"),
    plant,
    schedule,
)
