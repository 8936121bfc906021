"""What runs where. Linux runs everything, macOS what one machine needs, others are clients."""

from __future__ import annotations

import sys

from peerdisco.errors import ConfigurationError

NODES = ("linux", "darwin")
"""Where a node runs; production is Linux, macOS is for development and embedded nodes."""


def require_node_platform(feature: str) -> None:
    """Raises ConfigurationError, naming the feature, where no node can run."""
    if sys.platform not in NODES:
        raise ConfigurationError(
            f"{feature} needs Linux or macOS, and this is {sys.platform}. Programs here can use "
            "a cluster elsewhere: set PEERDISCO to what `peerdisco token create` prints there."
        )
