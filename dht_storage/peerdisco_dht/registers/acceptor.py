"""The acceptor of CASPaxos: pure rules for one register's row.

An acceptor promises never to accept a ballot below the highest that it has promised (Rystsov 2018,
section 2.2; Lamport's P2b). No I/O: `rows.py` keeps the rows and commits them before an answer
leaves the node.

Round 0 spares a new register its first phase (Lamport, Fast Paxos, 2006, with all acceptors as the
fast quorum): whoever believes that nobody ever wrote may propose in it at once, and an acceptor
takes such a proposal only when it has neither promised nor accepted anything. It is chosen when
*all* acceptors took it, so of two that compete at most one is, and every majority knows it.
"""

from __future__ import annotations

from peerdisco_dht.registers.messages import Accept, AcceptorRow, Held, Prepare

BLANK = AcceptorRow()
"""The row of a register that this acceptor has never heard of."""


def prepare(row: AcceptorRow, request: Prepare) -> tuple[AcceptorRow, Held]:
    """Phase one: promise a ballot that is higher than all promised so far."""
    if request.ballot <= row.promised:
        return row, Held(granted=False, promised=row.promised)
    promised = AcceptorRow(request.ballot, row.accepted, row.value)
    return promised, peek(promised)


def accept(row: AcceptorRow, request: Accept) -> tuple[AcceptorRow, Held]:
    """Phase two: accept a ballot that is not below the promise, and promise the upcoming one."""
    taken = request.ballot.round == 0 and row != BLANK
    if taken or request.ballot < row.promised or request.ballot <= row.accepted:
        return row, Held(granted=False, promised=row.promised)
    promised = max(request.ballot, request.upcoming)
    accepted = AcceptorRow(promised, request.ballot, request.value)
    return accepted, Held(granted=True, promised=promised, accepted=request.ballot)


def peek(row: AcceptorRow) -> Held:
    """What the acceptor holds."""
    return Held(granted=True, promised=row.promised, accepted=row.accepted, value=row.value)
