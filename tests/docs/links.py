"""The links of the pages to other sites. `make links` asks each, and says which do not answer; it needs a network."""

import re
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.docs.pages import PAGES, ROOT

__all__ = ["PAGES_WITH_LINKS", "external_links", "links_in", "trouble_with"]

PAGES_WITH_LINKS = [*PAGES, "benchmarks/README.md"]

CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"https?://[^\s)>\]\"']+")

PATIENCE = 20
"""Seconds for an answer."""


def links_in(text: str) -> list[str]:
    """The addresses of other sites in a page, however they are written. What is code is no link."""
    return [link.partition("#")[0].rstrip(".,:;") for link in LINK.findall(CODE.sub("", text))]


def external_links() -> dict[str, list[str]]:
    """All of them, with the pages that each is in."""
    found: dict[str, list[str]] = defaultdict(list)
    for page in PAGES_WITH_LINKS:
        for link in links_in((ROOT / page).read_text()):
            found[link].append(page)
    return dict(found)


def trouble_with(link: str) -> str:
    """What is wrong with an address; nothing if it answers."""
    try:
        with httpx.stream("GET", link, follow_redirects=True, timeout=PATIENCE) as response:
            return "" if response.is_success else f"{response.status_code} {response.reason_phrase}"
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"


def main() -> int:
    """Ask all, print those that do not answer; 1 if there are any."""
    links = external_links()
    with ThreadPoolExecutor(8) as pool:
        wrong = {link: trouble for link, trouble in zip(links, pool.map(trouble_with, links), strict=True) if trouble}
    for link, trouble in wrong.items():
        print(f"{link} ({', '.join(links[link])}): {trouble}")
    print(f"{len(links) - len(wrong)} of {len(links)} addresses answer")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
