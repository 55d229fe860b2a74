"""Environments of their own, for programs that do not go together with what development installs."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

__all__ = ["python_with"]

ROOT = Path(__file__).parents[2]


def python_with(name: str) -> str:
    """The interpreter of an environment with `requirements/NAME.txt`: `.venv-NAME`, made if it is not up to date.

    Whoever else wants it meanwhile waits until it is there.
    """
    folder, requirements = ROOT / f".venv-{name}", ROOT / "requirements" / f"{name}.txt"
    stamp, wanted = folder / "made-of", hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    python = str(folder / "bin" / "python")
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _call(sys.executable, "-m", "venv", str(folder))
            _call(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(requirements))
            stamp.write_text(wanted)
    return python


def _call(*command: str) -> None:
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
