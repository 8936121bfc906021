"""Tokens of tags: who may read and who may write, by Disco's matrix. Pure.

| | no write token set | write token set |
|---|---|---|
| write | anybody | who gives the write token |
| read, no read token set | anybody | anybody |
| read, read token set | who gives the read token | who gives the read or the write token |

So a read token alone does not protect a tag from writers, not even from one who changes that token.
The empty token is a token, and another thing than none. The token that is given with the write
that creates a tag becomes both of its tokens.

A head holds salted hashes, so nobody who can read a register or a disk learns a token. The hash is
a fast one: whoever can read a node's disk can read its blobs too, and a slow one would stop the
loop of the tag's coordinator. Choose tokens that cannot be guessed.
"""

from __future__ import annotations

import enum
import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from peerdisco_dht.errors import Limit
from peerdisco_dht.messages import Message

TOKEN_BYTES_MAX = 1024
SALT_BYTES = 16
DIGEST_BYTES = 32
OWNER_CHARACTERS_MAX = 255


class TokenKind(enum.StrEnum):
    """Which of a tag's two tokens."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for something of a tag.

    Attributes:
        token: What the caller proves its rights with; None for nothing.
        name: Who that is, for people: a new tag's owner, and the author in its history. It is
            taken as it is given and proves nothing.
    """

    token: str | None = None
    name: str = ""


ANYBODY = Caller()


class Secret(Message, frozen=True, array_like=True):
    """A token as it is kept."""

    salt: bytes
    digest: bytes


class Claim(Message, frozen=True, array_like=True):
    """The caller, as an action brings it to the tag's coordinator.

    Attributes:
        token: As given.
        secret: The same as it would be kept, in actions that can create a tag.
        name: See Caller.
    """

    token: str | None = None
    secret: Secret | None = None
    name: str = ""


NO_CLAIM = Claim()


class Protected(Protocol):
    """What has tokens: the head of a tag."""

    @property
    def read_token(self) -> Secret | None:
        """What a reader must know."""

    @property
    def write_token(self) -> Secret | None:
        """What a writer must know; it opens the tag to reading too."""


def seal(token: str, salt: bytes) -> Secret:
    """A token as it is kept."""
    return Secret(salt, _digest(token, salt))


def check_caller(caller: Caller) -> None:
    """Raises Limit for a token or a name that is too long."""
    if caller.token is not None and len(caller.token.encode()) > TOKEN_BYTES_MAX:
        raise Limit(f"tokens of tags have at most {TOKEN_BYTES_MAX} bytes")
    if len(caller.name) > OWNER_CHARACTERS_MAX:
        raise Limit(f"names of callers have at most {OWNER_CHARACTERS_MAX} characters")


def may_write(tag: Protected, token: str | None) -> bool:
    """Whether the token allows changing the tag, deleting it, and changing its tokens."""
    return tag.write_token is None or _opens(tag.write_token, token)


def may_read(tag: Protected, token: str | None) -> bool:
    """Whether the token allows reading the tag."""
    if tag.read_token is None or _opens(tag.read_token, token):
        return True
    return tag.write_token is not None and _opens(tag.write_token, token)


def _opens(secret: Secret, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(secret.digest, _digest(token, secret.salt))


def _digest(token: str, salt: bytes) -> bytes:
    # A token may hold half of a surrogate pair; it is a token like any other.
    data = token.encode("utf-8", "surrogatepass")
    return blake2b(
        data, digest_size=DIGEST_BYTES, salt=salt[:SALT_BYTES], person=b"tag token"
    ).digest()
