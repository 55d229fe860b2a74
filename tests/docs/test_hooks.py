"""The page on performance shows what was published, when something was."""

import shutil
import warnings
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

NOTHING_YET = "<!-- results: begin -->\n<!-- results: end -->\n"
PUBLISHED = "# Benchmarks\n\n<!-- results: begin -->\n\nMeasured on a day.\n\n<!-- results: end -->\n\nmore\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with nothing but that page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    for name in ("hooks.py", "performance.md"):
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs")
    (tmp_path / "docs" / "performance.md").rename(tmp_path / "docs" / "index.md")
    (tmp_path / "mkdocs.yml").write_text(
        "{site_name: test, hooks: [docs/hooks.py], exclude_docs: hooks.py, plugins: []}"
    )
    return tmp_path


def build(site: Path) -> str:
    """The page as it is built; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mkdocs' own making
        from mkdocs.commands.build import build
        from mkdocs.config import load_config

        build(load_config(str(site / "mkdocs.yml"), strict=True))
    return (site / "site" / "index.html").read_text()


def test_without_results_it_says_so(site: Path) -> None:
    (site / "benchmarks" / "README.md").write_text(NOTHING_YET)
    assert "Results of this version are not published yet." in build(site)


def test_results_are_shown_with_their_picture(site: Path) -> None:
    (site / "benchmarks" / "README.md").write_text(PUBLISHED)
    (site / "benchmarks" / "results.svg").write_text("<svg/>")
    page = build(site)
    assert "Measured on a day." in page
    assert "not published" not in page
    assert 'src="results.svg"' in page
    assert (site / "site" / "results.svg").read_text() == "<svg/>"


def test_the_readme_of_the_benchmarks_has_the_place_that_is_looked_for() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert text.index("<!-- results: begin -->") < text.index("<!-- results: end -->")


def test_the_table_of_servers_is_that_of_the_readme(site: Path) -> None:
    (site / "benchmarks" / "README.md").write_text(NOTHING_YET)
    (site / "README.md").write_text("text\n\n| server | how |\n|---|---|\n| Valkey 9 | one server |\n\nmore\n")
    (site / "docs" / "index.md").write_text("# Install\n\n<!-- supported servers -->\n\nend\n")
    page = build(site)
    assert "<td>Valkey 9</td>" in page
    assert "supported servers" not in page


def test_a_page_asks_for_the_table_of_servers() -> None:
    assert "<!-- supported servers -->" in (ROOT / "docs" / "install.md").read_text()
    assert "\n| server |" in (ROOT / "README.md").read_text()
