"""Templates and static files, read from the package once per node.

Jinja2 is imported when the first page is drawn: a node that serves only its API never pays for it.
Every value is escaped unless a template says otherwise, and no template does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

from peerdisco_webui import present

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that pages refer to."""

    content: bytes
    content_type: str
    etag: str


class Assets:
    """What the pages are made of."""

    @cached_property
    def static(self) -> dict[str, StaticFile]:
        """Static files by name."""
        return {
            name: StaticFile(text.encode(), _TYPES[name.rpartition(".")[2]], _digest(text))
            for name, text in _texts("static").items()
        }

    @cached_property
    def revision(self) -> str:
        """Changes with any static file, so that browsers may keep them for ever."""
        return _digest("".join(self.static[name].etag for name in sorted(self.static)))[:12]

    def render(self, template: str, **context: object) -> str:
        """The HTML of a page."""
        return self._environment.get_template(template).render(revision=self.revision, **context)

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import DictLoader, Environment, StrictUndefined

        environment = Environment(
            loader=DictLoader(_texts("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(present.FILTERS)
        return environment


def _texts(folder: str) -> dict[str, str]:
    root = resources.files("peerdisco_webui") / folder
    files = sorted(root.iterdir(), key=lambda file: file.name)
    return {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
