"""What is refused where, by name."""

from __future__ import annotations

import sys

import pytest

from peerdisco.errors import ConfigurationError
from peerdisco.platforms import require_node_platform


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_node_runs_on_linux_and_macos(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    require_node_platform("a node")


def test_elsewhere_the_feature_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match="an embedded node needs Linux or macOS"):
        require_node_platform("an embedded node")
