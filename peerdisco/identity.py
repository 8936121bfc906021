"""Who this node is, kept in its data directory.

A node makes its key pair at its first start. Its id follows from the key, its generation counts
its starts, and the cluster secret says where it belongs. All three survive a restart; none depends
on the machine's name or address, so a replaced machine never blocks its successor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peerdisco.errors import ConfigurationError
from peerdisco.machine import Disk
from peerdisco.security.secrets import SECRET_BYTES, ClusterSecret, node_id_of_private

KEY_PATH = "identity/node.key"
GENERATION_PATH = "identity/generation"
SECRET_PATH = "identity/cluster.secret"  # noqa: S105 - a file name
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """One start of one node.

    Attributes:
        node_id: 160 bits in base32; the same at every start.
        generation: 1 at the first start, one more at each further one.
        private_key: Raw Ed25519 key.
        secret: The cluster's secret.
    """

    node_id: str
    generation: int
    private_key: bytes
    secret: ClusterSecret


async def load_identity(disk: Disk, entropy: Callable[[int], bytes]) -> Identity:
    """The identity in the data directory, made on the first start; counts this start.

    Raises ConfigurationError when what is there cannot be one, and changes nothing then.
    """
    key = await _read_or_make(disk, KEY_PATH, lambda: entropy(KEY_BYTES), KEY_BYTES)
    secret = await _read_or_make(disk, SECRET_PATH, lambda: entropy(SECRET_BYTES), SECRET_BYTES)
    generation = await _next_generation(disk)
    return Identity(node_id_of_private(key), generation, key, ClusterSecret(secret))


async def load_secret(disk: Disk) -> ClusterSecret | None:
    """The secret of the cluster that this data directory belongs to, if it has one yet."""
    if await disk.size(SECRET_PATH) is None:
        return None
    return ClusterSecret(await _read(disk, SECRET_PATH, SECRET_BYTES))


async def save_secret(disk: Disk, secret: ClusterSecret) -> None:
    """Make the data directory belong to a cluster."""
    await disk.write(SECRET_PATH, secret.raw.hex().encode())


async def _read_or_make(disk: Disk, path: str, make: Callable[[], bytes], size_bytes: int) -> bytes:
    if await disk.size(path) is None:
        await disk.write(path, make().hex().encode())
    return await _read(disk, path, size_bytes)


async def _read(disk: Disk, path: str, size_bytes: int) -> bytes:
    try:
        value = bytes.fromhex((await disk.read(path)).decode())
    except ValueError:
        value = b""
    if len(value) != size_bytes:
        raise ConfigurationError(
            f"{path} in the data directory is damaged: it should hold {size_bytes} bytes in hex. "
            "Restore it from a backup, or start with an empty data directory as a new node."
        )
    return value


async def _next_generation(disk: Disk) -> int:
    before = 0
    if await disk.size(GENERATION_PATH) is not None:
        text = (await disk.read(GENERATION_PATH)).decode(errors="replace").strip()
        if not text.isdecimal():
            raise ConfigurationError(f"{GENERATION_PATH} in the data directory is not a number")
        before = int(text)
    await disk.write(GENERATION_PATH, b"%d" % (before + 1))
    return before + 1
