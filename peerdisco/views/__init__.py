"""The node as the web room sees it: one adapter for each of its ports.

Adapters translate values and errors, nothing else: what a job or a tag is, is decided elsewhere.
"""

from peerdisco.views.cluster import ClusterViews
from peerdisco.views.files import FileViews
from peerdisco.views.groups import RaftViews
from peerdisco.views.jobs import JobViews
from peerdisco.views.upkeep import UpkeepViews

__all__ = ["ClusterViews", "FileViews", "JobViews", "RaftViews", "UpkeepViews"]
