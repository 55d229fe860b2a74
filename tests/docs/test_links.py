"""A link that leads nowhere, in a page or to a part of one, ends the build of the site: `make docs` finds them all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


def settings() -> str:
    """What the site is built with, as far as links are concerned."""
    text = (ROOT / "mkdocs.yml").read_text()
    [validation] = re.findall(r"^validation:\n(?: .*\n)+", text, re.MULTILINE)
    assert "\nstrict: true\n" in text
    return f"site_name: test\nplugins: []\nstrict: true\n{validation}"


def build(folder: Path, **pages: str) -> "subprocess.CompletedProcess[str]":
    (folder / "docs").mkdir()
    (folder / "mkdocs.yml").write_text(settings())
    for name, text in {"index": "# Index\n\n[other](other.md#part)", "other": "# Other\n\n## Part", **pages}.items():
        (folder / "docs" / f"{name}.md").write_text(text)
    words = [sys.executable, "-m", "mkdocs", "build"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_good_links_are_good(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("nowhere.md", "nowhere.md"),
        ("other.md#nothing", "#nothing"),
        ("#nothing", "#nothing"),
        ("/other/", "absolute link"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str, said: str) -> None:
    done = build(tmp_path, index=f"# Index\n\n[somewhere]({link})")
    assert done.returncode != 0
    assert said in done.stderr


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in sorted(pages) if f" {page}\n" not in text] == []


def test_nothing_is_fetched_from_elsewhere() -> None:
    """The theme's fonts are off, and no page or style names a script or a font of somebody else."""
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()
    for path in (*(ROOT / "docs").rglob("*.css"), *(ROOT / "docs" / "drawings").glob("*.svg")):
        assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", "")
