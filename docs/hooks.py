"""Puts into the pages what stands elsewhere in the repository.

The published results of the benchmarks, and their picture, go into the page on performance; the README's table of the
servers that the tests run on goes where a page asks for it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PICTURE = "results.svg"
PLACE = "<!-- published results -->"
PUBLISHED = re.compile(r"<!-- results: begin -->(.*)<!-- results: end -->", re.DOTALL)
SERVERS = "<!-- supported servers -->"
TABLE_OF_SERVERS = re.compile(r"^\| server \|(?:.*\n)(?:\|.*\n)+", re.MULTILINE)
NOTHING = "Results of this version are not published yet."


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the picture, if there is one."""
    if (BENCHMARKS / PICTURE).exists():
        files.append(File.generated(config, PICTURE, abs_src_path=str(BENCHMARKS / PICTURE)))
    return files


def on_page_markdown(markdown: str, files: Files, **_: Any) -> str:
    """Fill the places that a page left."""
    if SERVERS in markdown:
        markdown = markdown.replace(SERVERS, _servers())
    return markdown.replace(PLACE, _results(files)) if PLACE in markdown else markdown


def _results(files: Files) -> str:
    found = PUBLISHED.search((BENCHMARKS / "README.md").read_text())
    results = found[1].strip() if found else ""
    picture = f"![How many times better than 1.1.0]({PICTURE})\n\n" if files.get_file_from_path(PICTURE) else ""
    return f"{picture}{results}" if results else NOTHING


def _servers() -> str:
    found = TABLE_OF_SERVERS.search((ROOT / "README.md").read_text())
    if found is None:
        raise ValueError("the README has no table of servers")
    return found[0]
