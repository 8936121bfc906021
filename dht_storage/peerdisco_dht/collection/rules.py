"""What a garbage collection may do with a copy: pure rules.

A generation may condemn a copy only when all of this holds: every partition has told which blobs
its registers name, none named it, no living owner holds it, its lease ended before the generation
began here, and nothing touched it since. A condemned copy stays readable in the trash. It goes only
when a *later* generation, after the trash time, finds it unnamed once more; so a single wrong
finding, or a clock that jumped, costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerdisco_dht.blobs.messages import BlobRow, Condemned, Role, Verdict, Where

MEMORY_S = 30 * 86400.0
"""How long a node remembers that the owners of a blob have released it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a generation goes by on one node.

    Attributes:
        number: Of the generation.
        began: Wall time of this node when it began here.
        trash_s: How long a condemned copy stays in the trash.
    """

    number: int
    began: float
    trash_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict and why.

    Attributes:
        verdict: What to do.
        reason: Why, for people.
        condemned: What the row's `condemned` is to be when it stays.
    """

    verdict: Verdict
    reason: str
    condemned: Condemned | None = None


def judge(row: BlobRow, terms: Terms, *, home: bool, named: bool, held: bool) -> Finding:
    """What to do with a row.

    Args:
        row: This node's row.
        terms: Of the generation; all partitions have told what they name.
        home: Whether this node is a home of the blob.
        named: Whether a register names the blob.
        held: Whether a living owner holds it.
    """
    if row.where is Where.NOWHERE:
        old = row.lease + MEMORY_S < terms.began
        return Finding(Verdict.FORGET if old else Verdict.KEEP, "released long ago")
    if not home:
        return _judge_visitor(row, terms)
    if named or held:
        verdict = Verdict.REVIVE if row.condemned is not None else Verdict.KEEP
        return Finding(verdict, "a tag names it" if named else "a running job owns it")
    if row.touched >= terms.number:
        return Finding(Verdict.KEEP, "put or pinned since the collection began")
    if row.lease >= terms.began:
        return Finding(Verdict.KEEP, "leased")
    if row.condemned is None:
        condemned = Condemned(terms.number, terms.began)
        return Finding(Verdict.CONDEMN, "no tag names it and its lease is over", condemned)
    in_trash_s = terms.began - row.condemned.at
    if row.condemned.generation < terms.number and in_trash_s >= terms.trash_s:
        reason = f"no tag named it in generations {row.condemned.generation} and {terms.number}"
        return Finding(Verdict.REMOVE, reason)
    return Finding(Verdict.KEEP, "in the trash", row.condemned)


def _judge_visitor(row: BlobRow, terms: Terms) -> Finding:
    """A copy away from home: a cache may go when its lease is over, a replica is repair's."""
    if row.role is Role.CACHE and row.lease < terms.began and row.touched < terms.number:
        return Finding(Verdict.REMOVE, "a cache whose lease is over")
    return Finding(Verdict.KEEP, "not at home here", row.condemned)
