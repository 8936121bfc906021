"""Replicated registers: small values with linearizable operations, one CASPaxos each."""
