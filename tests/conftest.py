"""What all tests share: tests that need a program of their own are skipped by name, or demanded.

`@pytest.mark.needs_extra("chromium")` skips a test where the program is missing. The judgement
on a clean checkout sets PEERDISCO_EXTRAS=required: there a missing program is a failure.
"""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs_extra"):
        for program in marker.args:
            if shutil.which(program) is not None:
                continue
            if os.environ.get("PEERDISCO_EXTRAS") == "required":
                pytest.fail(f"{program} is missing, and PEERDISCO_EXTRAS=required", pytrace=False)
            pytest.skip(f"needs {program}")
