"""Conditional requests (RFC 9110, section 13), as far as tags and blobs need them. Pure.

A tag's ETag is its version in quotes, a blob's is its id: both are strong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from peerdisco_webui.errors import BadRequest, PreconditionFailed

ANY = "*"
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"\s*(?:{_ETAG.pattern}\s*(?:,\s*|$))*")
TAGS_MAX = 100


def not_modified(headers: Mapping[str, str], current: str) -> bool:
    """Whether `If-None-Match` says that the caller has this already. Compares weakly."""
    wanted = headers.get("If-None-Match")
    if wanted is None:
        return False
    return wanted.strip() == ANY or current in [tag for _, tag in _etags(wanted)]


def check_match(headers: Mapping[str, str], current: str) -> None:
    """Raises PreconditionFailed when `If-Match` names other versions only. Compares strongly."""
    wanted = headers.get("If-Match")
    if wanted is None or wanted.strip() == ANY:
        return
    if current not in [tag for weak, tag in _etags(wanted) if not weak]:
        raise PreconditionFailed(f'the ETag is "{current}"')


def range_holds(headers: Mapping[str, str], current: str) -> bool:
    """Whether a `Range` is still meant: `If-Range` may say that it was for another version."""
    wanted = headers.get("If-Range")
    return wanted is None or wanted.strip() == f'"{current}"'


def expected_version(headers: Mapping[str, str]) -> int | None:
    """The version of a tag that a write is for: from `If-Match`; 0 from `If-None-Match: *`.

    None is no condition. Raises BadRequest for conditions that writes of tags do not take.
    """
    match, none_match = headers.get("If-Match"), headers.get("If-None-Match")
    if match is None and none_match is None:
        return None
    if match is None and none_match is not None and none_match.strip() == ANY:
        return 0
    tags = _etags(match) if match is not None and none_match is None else []
    if len(tags) == 1 and tags[0][0] == "" and re.fullmatch(r"\d{1,18}", tags[0][1], re.ASCII):
        return int(tags[0][1])
    raise BadRequest(
        'a write of a tag takes If-Match with the one ETag that was read, as in If-Match: "7", '
        "or If-None-Match: * for a tag that shall be new"
    )


def _etags(header: str) -> list[tuple[str, str]]:
    """(`W/` or nothing, opaque tag) of each entity tag in a header."""
    if _LIST.fullmatch(header) is None:
        raise BadRequest(f"not a list of ETags: {header[:80]!r}")
    found = _ETAG.findall(header)
    if len(found) > TAGS_MAX:
        raise BadRequest(f"at most {TAGS_MAX} ETags can be compared")
    return found
