"""Hosts and ports as they are written, and who can reach them."""

from __future__ import annotations

import pytest

from peerdisco.addresses import format_address, is_loopback


def test_an_ipv6_host_is_written_in_brackets() -> None:
    assert format_address(("10.0.0.1", 8989)) == "10.0.0.1:8989"
    assert format_address(("::1", 8989)) == "[::1]:8989"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "node7", "127.example.org"])
def test_whatever_others_may_reach_is_not_loopback(host: str) -> None:
    """A name that looks like a loopback address may stand for any machine."""
    assert not is_loopback(host)
