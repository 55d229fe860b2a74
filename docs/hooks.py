"""Puts the published results of the benchmarks, and their picture, into the page on performance."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PICTURE = "results.svg"
PLACE = "<!-- published results -->"
PUBLISHED = re.compile(r"<!-- results: begin -->(.*)<!-- results: end -->", re.DOTALL)
NOTHING = "Results of this version are not published yet."


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the picture, if there is one."""
    if (BENCHMARKS / PICTURE).exists():
        files.append(File.generated(config, PICTURE, abs_src_path=str(BENCHMARKS / PICTURE)))
    return files


def on_page_markdown(markdown: str, files: Files, **_: Any) -> str:
    """Fill the place that a page left for the results."""
    return markdown.replace(PLACE, _results(files)) if PLACE in markdown else markdown


def _results(files: Files) -> str:
    found = PUBLISHED.search((BENCHMARKS / "README.md").read_text())
    results = found[1].strip() if found else ""
    picture = f"![How many times better than 1.1.0]({PICTURE})\n\n" if files.get_file_from_path(PICTURE) else ""
    return f"{picture}{results}" if results else NOTHING
