"""Peer HTTP on TCP: calls, streams and links between nodes that have proved who they are.

`Peers` is what the rest of the node uses. It offers three forms of exchange (`call`, `fetch`,
`push`), each with a `serve` twin, and `links`, one long-lived ordered stream of frames per pair of
nodes. Small calls share a stream too (`calls.py`); everything else is a request of its own. No
protocol lives here: methods are names, bodies are bytes.
"""

from peerdisco.peers.links import Links
from peerdisco.peers.service import Peers

__all__ = ["Peers", "Links"]
