"""Running tasks on this node: slots, worker processes, inputs and outputs.

`Runner` is what the node's composition needs; start reading in `runner.py`.
"""

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.runner import Runner, Running

__all__ = ["Runner", "Running", "ExecutionConfig"]
