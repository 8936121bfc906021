"""What PEERDISCO and `peer=` may hold."""

from __future__ import annotations

import pytest

from peerdisco.addresses import format_address
from peerdisco.client.target import BadPeer, Target, parse_http, parse_target


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("localhost:8000", [("localhost", 8000)]),
        ("node7", [("node7", 8989)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        ("[::1]:7", [("::1", 7)]),
        ("fe80::1", [("fe80::1", 8989)]),
        ("http://10.0.0.1:8989/", [("10.0.0.1", 8989)]),
    ],
)
def test_addresses(text: str, addresses: list[tuple[str, int]]) -> None:
    assert parse_target(text) == Target(tuple(addresses))


def test_a_client_string_names_its_cluster() -> None:
    target = parse_target("pdc1." + "a" * 24 + ".Z3JhbnQ@10.0.0.1:8989,10.0.0.2")
    assert target.fingerprint == "a" * 24
    assert target.token == "Z3JhbnQ"
    assert target.addresses == (("10.0.0.1", 8989), ("10.0.0.2", 8989))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no address"),
        ("a:0", "valid port"),
        ("a:70000", "valid port"),
        ("a:b", "host:port"),
        ("/tmp/x", "host:port"),
        ("https://a", "client string"),
        ("pd1.x.y@a", "pdc1"),
        ("pdc1.short.y@a", "copy the whole string"),
    ],
)
def test_nonsense_is_explained(text: str, word: str) -> None:
    with pytest.raises(BadPeer, match=word):
        parse_target(text)


def test_addresses_are_shown_as_they_are_typed() -> None:
    for text in ("a:1", "[::1]:2"):
        address = parse_http(text)
        assert address is not None
        assert format_address(address) == text
    assert parse_http("") is None
    assert parse_http("nonsense:x") is None
