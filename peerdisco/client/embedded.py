"""A one-node cluster inside the client's process, for programs that find no other.

The node has its own thread, its own event loop and a temporary data directory; it is stopped, and
its data deleted, when the process exits. It can never survive anything, and says that it is there.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable

from peerdisco.addresses import Address, format_address
from peerdisco.platforms import require_node_platform


def start() -> Address:
    """Start the node; where it answers. Raises PeerdiscoError when it does not start."""
    require_node_platform("an embedded node")
    # The daemon brings the whole product along; programs that have a cluster never load it.
    from peerdisco.daemon import start_embedded

    node = start_embedded()
    _at_exit(node.close)
    sys.stderr.write(
        "peerdisco: no cluster named in PEERDISCO and none on this machine; started an embedded "
        f"node, http://{format_address(node.http_address)}, that ends with this program\n"
    )
    return node.http_address


def _at_exit(close: Callable[[], object]) -> None:
    """Call when the program ends, while the threads that the node needs can still work.

    `atexit` is too late for that: thread pools refuse work by then, and the node would not stop
    in order. What they use themselves has no public name.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(close)
