"""The guide to testing is a suite that passes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import Page


def test_the_suite_of_the_guide_passes(tmp_path: Path, redis_url: str) -> None:
    page = Page("docs/guide/testing.md")
    page.write_files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "filterwarnings=error", "."],
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONOPTIMIZE": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, _ in page.files:
        if name.startswith("test_"):
            assert re.search(rf"^{name} [.s]", done.stdout, re.MULTILINE), f"{name} did not run"
