"""Names: of jobs, which the client makes unique, and of what belongs to a job."""

from __future__ import annotations

import getpass
import re
import secrets
import socket
import time

from peerdisco.client.errors import BadJob

_PREFIX = re.compile(r"[A-Za-z0-9_\-]{1,100}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*://")
BLOB_SCHEME = "blob:"
TAG_SCHEME = "tag://"


def unique_job_name(prefix: str) -> str:
    """`<prefix>@<hex>:<hex>:<hex>`: the time of submission, as in Disco, and then chance.

    The name is the identity of the submission: sending it again, anywhere, is the same job.
    """
    if _PREFIX.fullmatch(prefix) is None:
        raise BadJob(f"a job's name has 1 to 100 of A-Z a-z 0-9 _ -, unlike {prefix!r}")
    seconds, fraction = divmod(time.time_ns(), 10**9)
    mega, seconds = divmod(seconds, 10**6)
    return f"{prefix}@{mega:x}:{seconds:x}:{fraction // 1000:x}{secrets.token_hex(4)}"


def owner() -> str:
    """`user@host` of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in the passwd file, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def input_tag(job: str) -> str:
    """The tag that holds the files which the client pushed for a job."""
    return f"disco:input:{job}"


def has_scheme(text: str) -> bool:
    """Whether a name says by itself where it lives."""
    return text.startswith(BLOB_SCHEME + "b3-") or _SCHEME.match(text) is not None
