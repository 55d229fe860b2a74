"""An environment for each library that is measured beside ours, so that two of the same name never meet."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.rows import OLD, OURS_NAME, PEERS

__all__ = ["ROOT", "build", "machine", "python_of", "versions"]

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / ".venv-bench"
REQUIREMENTS: Final = {OLD: "bench-1.1.0.txt", PEERS[0]: "bench-litestar.txt", PEERS[1]: "bench-broadcaster.txt"}

SHOWN: Final = (
    "fast-channels", "litestar", "broadcaster", "redis", "hiredis", "msgspec", "msgpack", "uvicorn", "websockets",
    "uvloop", "starlette", "picows",
)  # fmt: skip

_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def python_of(environment: str) -> str:
    """The interpreter of an environment; ours is the one that runs this."""
    return sys.executable if environment == OURS_NAME else str(_folder(environment) / "bin" / "python")


def build(environment: str) -> bool:
    """Make the environment unless it is there and up to date; True if there was something to do."""
    if environment == OURS_NAME:
        return False
    requirements, folder = ROOT / "requirements" / REQUIREMENTS[environment], _folder(environment)
    stamp, wanted = folder / "made-of", _digest(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    _call(sys.executable, "-m", "venv", "--clear", str(folder))
    _call(python_of(environment), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(requirements))
    stamp.write_text(wanted)
    return True


def versions(environment: str) -> dict[str, str]:
    """What is installed there of the packages that matter."""
    command = [python_of(environment), "-c", _VERSIONS, *SHOWN]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def machine(server_binary: str) -> dict[str, str]:
    """What this was measured on."""
    server = subprocess.run([server_binary, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": " ".join(server.split()[:3]),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _folder(environment: str) -> Path:
    return FOLDER / environment


def _digest(requirements: Path) -> str:
    return hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
