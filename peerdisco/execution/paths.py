"""Where execution keeps its files, and which of them other nodes may read.

    segments/<job>/<attempt>.<run>/<label>   intermediate outputs, served to peers
    spool/<job>/<attempt>.<run>/...          fetched inputs, removed after the attempt
    spool/<job>/pack-<blob>                  the job pack, removed with the job

The run number keeps a repeated attempt apart from what is still being removed of an earlier one.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

SEGMENTS = "segments"
SPOOL = "spool"


def job_directory(root: str, job: str) -> str:
    """The directory of a job below `SEGMENTS` or `SPOOL`, whatever the job is called."""
    quoted = quote(job, safe="@:")
    return f"{root}/{quoted.replace('.', '%2E') if not quoted.strip('.') else quoted}"


def job_of(directory_name: str) -> str:
    """The job that a directory below `SEGMENTS` belongs to."""
    return unquote(directory_name)


def attempt_directory(root: str, job: str, attempt: int, run: int) -> str:
    """The directory of one run of an attempt."""
    return f"{job_directory(root, job)}/{attempt}.{run}"


def pack_name(blob_id: str) -> str:
    """The file of a job pack in its job's spool directory."""
    return f"pack-{quote(blob_id, safe='')}"


def segment_url(node: str, path: str) -> str:
    """The URL under which peers know an intermediate output."""
    return f"segment://{node}/{path}"


def split_segment_url(url: str) -> tuple[str, str]:
    """Node and path of a segment URL. Raises ValueError for any other."""
    node, _, path = url.removeprefix("segment://").partition("/")
    if not url.startswith("segment://") or not node or not is_segment_path(path):
        raise ValueError(f"{url} is no segment URL")
    return node, path


def is_segment_path(path: str) -> bool:
    """Whether a path names a segment and nothing else; peers may ask for no other."""
    parts = path.split("/")
    return (
        len(parts) == 4
        and parts[0] == SEGMENTS
        and parts[3].removeprefix("-").isdigit()
        and not any(part.strip(".") == "" or "\0" in part or "\\" in part for part in parts)
    )
