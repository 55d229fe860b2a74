"""The pages of the documentation, and the code in them."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PAGES", "ROOT", "Block", "Page"]

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?:#|//|<!--) (?P<name>\S+\.\w+)(?: -->)?\n")

INCLUDED = re.compile(r'^--8<-- "(?P<path>examples/[^"]+)"$', re.MULTILINE)


def _included(found: "re.Match[str]") -> str:
    """An example in the place where a page asks for it."""
    return (ROOT / found["path"]).read_text().rstrip()


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def file_name(self) -> str | None:
        """The file that the block is, if it begins with its name: `# chat/main.py`."""
        found = FILE_NAME.match(self.code)
        return found["name"] if found else None

    async def run(self, namespace: dict[str, Any]) -> None:
        """Run the block, which may await, in `namespace`. A traceback names the page and its line."""
        source = "\n" * self.line + self.code
        code = compile(source, str(self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            await result


class Page:
    """A page and its blocks of code: some are files, the others are run one after another in one namespace."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / name
        self.text = INCLUDED.sub(_included, self.path.read_text())
        self.blocks = [self._block(found) for found in FENCE.finditer(self.text)]
        self.namespace: dict[str, Any] = {"__name__": self.path.stem.replace("-", "_")}

    def _block(self, found: "re.Match[str]") -> Block:
        line = self.text.count("\n", 0, found.start()) + 1
        return Block(self.path, line, found["language"], found["code"])

    @property
    def steps(self) -> list[Block]:
        """The blocks of Python that are no files."""
        return [block for block in self.blocks if block.language == "python" and block.file_name is None]

    @property
    def files(self) -> list[tuple[str, str]]:
        """The blocks that are files: their names and what is in them."""
        return [(block.file_name, block.code) for block in self.blocks if block.file_name]

    def write_files(self, folder: Path) -> None:
        """Write the files below `folder`."""
        for name, code in self.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)

    async def run(self) -> dict[str, Any]:
        """Run every step, and return the namespace."""
        for block in self.steps:
            await block.run(self.namespace)
        return self.namespace


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"))
)
"""The names of all pages."""
