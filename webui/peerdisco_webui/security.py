"""Who may do what, and which requests a web page elsewhere could have forged.

Everything is refused unless it passes all of these, in this order:

1. `Host` names this node exactly, which defeats DNS rebinding.
2. `Origin` and `Sec-Fetch-Site`, where a browser sent them, say that our own page asks. Links from
   elsewhere may open pages, nothing more.
3. A request that changes something bears a JSON content type or the header `X-Peerdisco`: a
   foreign page can send neither without being asked by CORS, to which we never agree.
4. The caller has the access that the route asks for. Without a token everybody on loopback has
   all of it; any other listener demands TLS and a token (`check_exposure`).

Whoever may submit a job may run code on every node.
"""

from __future__ import annotations

import base64
import binascii
import enum
import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from peerdisco_webui.errors import Forbidden, Unauthorized, WrongMediaType

WRITE_HEADER = "X-Peerdisco"
DISCO_PATH = "/ddfs/"
"""Disco's programs send neither: here a write passes whose content type no form can send. A script
of a foreign page that tried has to ask by CORS, or sends the `Origin` that rule 2 refuses."""
_FORM_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Access(enum.IntEnum):
    """What a caller may do; each level includes those below it."""

    PUBLIC = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


Authorize = Callable[[web.Request], Access]
"""Tells a request's access; PUBLIC when it proves nothing."""


class InsecureListener(Exception):
    """The API would be open to the network. Nothing was started."""


def everybody(request: web.Request) -> Access:
    """The default on loopback: no login."""
    del request
    return Access.ADMIN


def by_token(verify: Callable[[str], Access]) -> Authorize:
    """Asks `verify` about the token of a request; without a token the access is PUBLIC."""

    def authorize(request: web.Request) -> Access:
        token = token_of(request)
        return verify(token) if token else Access.PUBLIC

    return authorize


def token_of(request: web.Request) -> str:
    """The token in `Authorization`: Bearer, or the password of Basic; empty when there is none."""
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def check_exposure(host: str, *, tls: bool, authorize: Authorize) -> None:
    """Raises InsecureListener for a listener that anybody on the network could use or read."""
    if is_loopback(host):
        return
    if not tls:
        raise InsecureListener(f"HTTP on {host or 'all interfaces'} needs TLS")
    if authorize is everybody:
        raise InsecureListener(f"HTTP on {host or 'all interfaces'} needs tokens")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on that host."""
    if host in LOOPBACK_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Applies the four rules to requests.

    Args:
        hosts: Names and addresses, beside loopback, by which clients reach this node.
        authorize: Tells a caller's access.
    """

    def __init__(self, hosts: Iterable[str], authorize: Authorize) -> None:
        self._hosts = LOOPBACK_HOSTS | {host.lower().strip("[]") for host in hosts}
        self.authorize = authorize

    def admit(self, request: web.Request, needed: Access | None) -> None:
        """Raises Forbidden, WrongMediaType or Unauthorized; None means that no route matched."""
        self._check_host(request)
        self._check_origin(request)
        self._check_write(request)
        if needed is None or needed is Access.PUBLIC:
            return
        granted = self.authorize(request)
        if granted < needed:
            if token_of(request) and granted is not Access.PUBLIC:
                raise Forbidden(f"this token may {granted.name.lower()}, not {needed.name.lower()}")
            raise Unauthorized(
                "send a token of this cluster, as made by `peerdisco token create`, "
                "in the Authorization header"
            )

    def _check_host(self, request: web.Request) -> None:
        hosts = request.headers.getall(hdrs.HOST, [])
        if len(hosts) != 1 or host_of(f"//{hosts[0]}") not in self._hosts:
            raise Forbidden(
                "the Host header does not name this node; use its address, "
                "or start the node with --advertise"
            )

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        own = (f"http://{request.headers[hdrs.HOST]}", f"https://{request.headers[hdrs.HOST]}")
        if origin is not None and origin.lower() not in (address.lower() for address in own):
            raise Forbidden("requests from other web sites are refused")
        if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return
        follows_link = (
            request.method == "GET"
            and request.headers.get("Sec-Fetch-Mode") == "navigate"
            and not request.path.startswith("/api/")
        )
        if not follows_link:
            raise Forbidden("requests from other web sites are refused")

    def _check_write(self, request: web.Request) -> None:
        if request.method in _SAFE_METHODS or WRITE_HEADER in request.headers:
            return
        if request.path.startswith(DISCO_PATH) and request.content_type not in _FORM_TYPES:
            return
        if request.content_type != "application/json" or hdrs.CONTENT_TYPE not in request.headers:
            raise WrongMediaType(f"send JSON, or add the header `{WRITE_HEADER}: 1`")


def host_of(url: str) -> str:
    """The lower-case host of a URL, without port and brackets; empty when it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
