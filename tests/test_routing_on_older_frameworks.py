"""The tests of routing once more, on the frameworks that many applications still run on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OLDER = ["fastapi==0.115.0", "starlette==0.38.6"]


def run(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this interpreter; what is in `path` comes before what is installed."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    done = run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *OLDER)
    if done.returncode != 0:
        pytest.skip(f"{' and '.join(OLDER)} cannot be installed: {done.stderr.strip()[-500:]}")
    return folder


def test_consumers_are_routed_on_older_frameworks_too(older: Path) -> None:
    versions = "import fastapi, starlette; print(fastapi.__version__, starlette.__version__)"
    assert run("-c", versions, path=older).stdout.split() == [pin.rpartition("=")[2] for pin in OLDER]
    # what the old releases themselves are warned of by newer dependencies is not ours
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]
    warnings = ["-W", "default"]
    files = ["tests/test_routing.py", "tests/consumer/test_endpoint.py", "tests/consumer/test_serving.py"]
    done = run("-m", "pytest", *options, *warnings, *files, path=older)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
