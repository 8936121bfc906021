"""`peerdisco demo`: the main job on three real daemons, one of which is killed in the middle.

What it claims it does: separate processes, joined by token, real text in DDFS, SIGKILL of the node
that coordinates the job while maps run, and every count compared with a plain count.
"""

from peerdisco.demo.story import DemoReport, run_demo

__all__ = ["DemoReport", "run_demo"]
