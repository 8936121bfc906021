"""The REST interface and the pages that any node serves.

`make_app` in `app.py` composes both over the Protocols of `ports.py`; a node hands those in. This
package knows nothing of gossip, storage or jobs, and imports no other room. Its JSON types in
`messages.py` are what clients decode; importing them loads no web server, so the names below are
looked up when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerdisco_webui.app import make_app, serving
    from peerdisco_webui.ports import Cluster, Files, Jobs, Views
    from peerdisco_webui.security import Access, InsecureListener, by_token, everybody

__all__ = [
    "make_app",
    "serving",
    "Views",
    "Cluster",
    "Jobs",
    "Files",
    "Access",
    "by_token",
    "everybody",
    "InsecureListener",
]

_HOMES = {
    "make_app": "app",
    "serving": "app",
    "Views": "ports",
    "Cluster": "ports",
    "Jobs": "ports",
    "Files": "ports",
    "Access": "security",
    "by_token": "security",
    "everybody": "security",
    "InsecureListener": "security",
}

if not TYPE_CHECKING:  # a type checker shall see a wrong name as wrong

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
