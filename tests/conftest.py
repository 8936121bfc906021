"""What all tests share: tests that need something of their own are skipped by name, or demanded.

`@pytest.mark.needs_extra("chromium")` skips a test where the program is missing; other tests skip
themselves with a reason that begins with "needs". The judgement on a clean checkout sets
PEERDISCO_EXTRAS=required: there each of these skips is a failure. Only what "this machine" can
never do (the reason says so) may be left out.
"""

from __future__ import annotations

import os
import shutil

import hypothesis
import pytest

# A noisy machine must not fail a property: how long an example takes is nobody's promise.
hypothesis.settings.register_profile("peerdisco", deadline=None)
hypothesis.settings.load_profile("peerdisco")

REQUIRED = os.environ.get("PEERDISCO_EXTRAS") == "required"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs_extra"):
        for program in marker.args:
            if shutil.which(program) is not None:
                continue
            if REQUIRED:
                pytest.fail(f"{program} is missing, and PEERDISCO_EXTRAS=required", pytrace=False)
            pytest.skip(f"needs {program}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the run fail for a skip that an installation would have avoided."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not REQUIRED or reporter is None:
        return
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if reason.startswith("needs"):
            reporter.write_line(f"skipped, but required: {report.nodeid}: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
