"""Tokens: what people paste, and how it is refused."""

from __future__ import annotations

import pytest

from peerdisco.addresses import format_address
from peerdisco.joining import join_token
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import BadToken, check_grant, make_grant, parse_address, parse_token

SECRET = ClusterSecret(bytes(range(32)))
NONCE = bytes(8)


def test_a_join_token_reads_back_with_its_addresses() -> None:
    text = join_token(SECRET, (("10.0.0.5", 8990), ("fd00::1", 9000)), 2000.0, NONCE)
    token = parse_token(text, "pd1")
    assert (("10.0.0.5", 8990), ("fd00::1", 9000)) == token.addresses
    check_grant(SECRET, "join", token.grant, now=1999.0)


def test_the_secret_never_stands_in_a_token_or_a_log() -> None:
    text = join_token(SECRET, (("h", 1),), 2000.0, NONCE)
    assert SECRET.raw.hex() not in text
    assert SECRET.raw.hex() not in repr(SECRET)


def test_an_expired_grant_is_refused_and_names_the_clocks() -> None:
    grant = make_grant(SECRET, "join", 2000.0, NONCE)
    with pytest.raises(BadToken, match=r"expired 500 s ago.*clocks"):
        check_grant(SECRET, "join", grant, now=2500.0)


@pytest.mark.parametrize(
    "damage", [lambda g: g[:-1], lambda g: "B" + g[1:], lambda g: "", lambda g: "é"]
)
def test_a_damaged_grant_is_refused(damage: object) -> None:
    grant = make_grant(SECRET, "join", 2000.0, NONCE)
    with pytest.raises(BadToken, match="did not issue"):
        check_grant(SECRET, "join", damage(grant), now=0.0)  # type: ignore[operator]  # a lambda


def test_a_grant_for_one_purpose_or_cluster_is_no_good_for_another() -> None:
    grant = make_grant(SECRET, "join", 2000.0, NONCE)
    with pytest.raises(BadToken):
        check_grant(SECRET, "api", grant, now=0.0)
    with pytest.raises(BadToken):
        check_grant(ClusterSecret(bytes(32)), "join", grant, now=0.0)


@pytest.mark.parametrize(
    "text", ["", "pd1", "pd1.abc.def@h", "pdc1.x@y", "hello", "pd1." + "a" * 24 + ".x"]
)
def test_what_is_not_a_token_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(BadToken, match=r"pd1\.<fingerprint>"):
        parse_token(text, "pd1")


@pytest.mark.parametrize(
    ("text", "address"),
    [("h", ("h", 7)), ("h:1", ("h", 1)), ("[::1]", ("::1", 7)), ("[::1]:5", ("::1", 5))],
)
def test_addresses_are_parsed(text: str, address: tuple[str, int]) -> None:
    assert address == parse_address(text, 7)
    assert address == parse_address(format_address(address), 7)


@pytest.mark.parametrize("text", ["", "h:0", "h:99999", "::1", "a b", "h:x", "@"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        parse_address(text, 7)
