"""Every block of code in the documentation runs, and what it names exists."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Page

each_page = pytest.mark.parametrize("name", PAGES)

API_OF_THE_LIBRARY = re.compile(r"^::: (\S+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@each_page
async def test_the_code_runs_from_top_to_bottom(name: str, open_page: Callable[[str], Page]) -> None:
    page = open_page(name)
    await page.run()


@each_page
def test_no_code_is_overlooked(name: str) -> None:
    page = Page(name)
    fences = page.text.count("```")
    assert fences == 2 * len(page.blocks)
    assert all(block.language for block in page.blocks), "a block without a language"


@each_page
def test_files_are_python_that_compiles(name: str) -> None:
    for file, code in Page(name).files:
        if file.endswith(".py"):
            compile(code, file, "exec")


def test_the_examples_in_docstrings_compile() -> None:
    examples = 0
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node) or ""
                for code in re.findall(r"```python\n(.*?)```", docstring, re.DOTALL):
                    compile(code, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                    examples += 1
    assert examples > 0


def test_the_api_page_has_every_public_module() -> None:
    package = ROOT / "src" / "fast_channels"
    below = [path for path in package.iterdir() if not path.name.startswith("_") and path.name != "py.typed"]
    modules = {f"fast_channels.{path.stem}" for path in below} | {
        "fast_channels.layers.redis",
        "fast_channels.layers.redis.serializers",
        "fast_channels.testing.contract",
        "fast_channels.testing.pytest_plugin",
        "fast_channels.testing.server",
    }
    assert modules <= set(API_OF_THE_LIBRARY.findall(Page("docs/api.md").text))


# Links between pages of the site are checked when it is built.


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_links_of_files_outside_the_site_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for link in LINK.finditer(Page(name).text):
        target = path.parent / link["path"] if link["path"] else path
        assert target.exists(), link[0]
        assert not link["anchor"] or link["anchor"] in anchors(target), link[0]


def anchors(path: Path) -> set[str]:
    """The anchors of the headings in a file, as GitHub makes them."""
    headings = HEADING.findall(path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
