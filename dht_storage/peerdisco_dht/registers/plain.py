"""The plain register: some bytes that are created once, compared and set, and deleted."""

from __future__ import annotations

from peerdisco_dht.messages import BadMessage, Message, decode
from peerdisco_dht.registers.value import Change, Keep, Refuse, Verdict

VALUE_BYTES_MAX = 1 << 20


class Create(Message, frozen=True, array_like=True, tag="create"):
    """Write the value unless the register exists; answers with the value that stands."""

    value: bytes


class CompareAndSet(Message, frozen=True, array_like=True, tag="set"):
    """Write the value if the register has this version; 0 for one that does not exist."""

    expected_version: int
    value: bytes


class Delete(Message, frozen=True, array_like=True, tag="delete"):
    """Let the register exist no more."""


Action = Create | CompareAndSet | Delete


class PlainKind:
    """Meaning of plain registers."""

    def load(self, data: bytes) -> object:
        """The content is its bytes."""
        return data

    def dump(self, content: object) -> bytes:
        """The bytes are the content."""
        assert isinstance(content, bytes)
        return content

    def apply(self, content: object | None, version: int, action: bytes) -> Verdict:
        """Create, compare and set, or delete."""
        request: Action = decode(action, Action)  # type: ignore[arg-type]  # mypy has no type of union types
        if not isinstance(request, Delete) and len(request.value) > VALUE_BYTES_MAX:
            raise BadMessage(f"a register holds at most {VALUE_BYTES_MAX} bytes")
        match request:
            case Create(value):
                if content is not None:
                    return Keep(self.dump(content))
                return Change(value, value)
            case CompareAndSet(expected, value):
                standing = version if content is not None else 0
                if standing != expected:
                    return Refuse(f"version is {standing}")
                return Change(value)
            case Delete():
                return Keep() if content is None else Change(None)
