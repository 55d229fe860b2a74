"""Every block of code of every page is executed or checked: there is none that no test claims."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from fast_channels.layers import RedisChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.docs.claims import CHECKED, NOT_RUN
from tests.docs.pages import PAGES, ROOT, Block, Page
from tests.docs.running import PROGRAMS

EXAMPLE = re.compile(r"examples[/.](\w+)")
SHELL = ("sh", "bash", "shell")

each_page = pytest.mark.parametrize("name", PAGES)


def commands_in(block: Block) -> list[str]:
    """The commands of a block for a shell, without their comments."""
    lines = block.code.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [" ".join(each) for each in words if each]


def things_in(block: Block) -> list[str]:
    """What a block holds that has to be claimed."""
    if block.file_name:
        return [block.file_name]
    if block.language in SHELL:
        return commands_in(block)
    if block.language == "python":
        return []
    return [f"{block.language}: {block.code.strip()}"]


def things_of(name: str) -> list[tuple[int, str]]:
    page = Page(name)
    return [(block.line, thing) for block in page.blocks for thing in things_in(block)]


def claims_on(name: str, thing: str) -> list[str]:
    """The tests that claim it, or why it is not run."""
    found = [test for pattern, test in CHECKED.get(name, {}).items() if fnmatchcase(thing, pattern)]
    found += [why for pattern, why in NOT_RUN.items() if fnmatchcase(thing, pattern)]
    return found or list(examples_for(name, thing))


def examples_for(name: str, thing: str) -> Iterator[str]:
    """The tests of the example that the page is about, if it is about one."""
    example = EXAMPLE.search(thing) or EXAMPLE.search(Page(name).text)
    test = ROOT / "tests" / "examples" / f"test_{example[1]}.py" if example else None
    if test is None or not test.exists():
        return
    if thing.startswith("examples/") or any(word in test_source(test) for word in (thing, thing.split()[0])):
        yield test.relative_to(ROOT).as_posix()


@cache
def test_source(path: Path) -> str:
    """What stands in a file of tests."""
    return path.read_text()


test_source.__test__ = False  # type: ignore[attr-defined]


@each_page
def test_no_block_is_without_a_test(name: str) -> None:
    orphans = [f"{name}:{line}: {thing[:80]}" for line, thing in things_of(name) if not claims_on(name, thing)]
    assert not orphans, "run them in a test, and add them to tests/docs/claims.py"


def test_a_block_without_a_test_is_found() -> None:
    """The twin."""
    assert not claims_on("docs/index.md", "uvicorn other:app")
    assert not claims_on("docs/index.md", "text: something new")
    assert claims_on("docs/index.md", "pip install fast-channels")


@pytest.mark.parametrize("name", CHECKED)
def test_every_claim_is_about_something(name: str) -> None:
    things = [thing for _, thing in things_of(name)]
    assert [pattern for pattern in CHECKED[name] if not any(fnmatchcase(thing, pattern) for thing in things)] == []


def names_in(path: Path) -> set[str]:
    """The functions and classes of a file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}


@pytest.mark.parametrize("test", sorted({test for claims in CHECKED.values() for test in claims.values()}))
def test_every_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert (ROOT / file).exists()
    assert not name or name in names_in(ROOT / file)


@each_page
def test_what_a_step_defines_is_used(name: str) -> None:
    """A function that is only defined has not run: the page goes on with it, or a test calls it."""
    page = Page(name)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defined = {
        node.name
        for block in page.steps
        for node in ast.parse(block.code).body
        if isinstance(node, kinds) and not node.decorator_list
    }
    code = "\n".join(block.code for block in page.blocks)
    tests = "\n".join(test_source(path) for path in (ROOT / "tests" / "docs").glob("test_*.py"))
    unused = [each for each in defined if len(re.findall(rf"\b{each}\b", code)) < 2 and f'"{each}"' not in tests]
    assert unused == []


# What is not run as it stands


def all_commands(pattern: str) -> list[str]:
    return sorted({thing for name in PAGES for _, thing in things_of(name) if fnmatchcase(thing, pattern)})


@pytest.mark.parametrize("line", all_commands("pip install*"))
def test_what_is_to_be_installed_is_known(line: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "requirements" / "dev.txt").read_text()
    for word in line.split()[2:]:
        package, _, extras = word.rstrip("]").partition("[")
        if package in (project["name"], "."):
            assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])
        elif not word.startswith("--"):
            assert re.search(rf"^{re.escape(package)}==", pinned, re.MULTILINE | re.IGNORECASE), word


@pytest.mark.parametrize("line", all_commands("docker run*"))
async def test_the_servers_of_docker_lines_can_be_started(line: str, caplog: pytest.LogCaptureFixture) -> None:
    found = re.fullmatch(
        r"docker run -d -p 6379:6379 (?:-v \w+:/data )?(?:redis:alpine|valkey/valkey)"
        r"(?: (?:redis|valkey)-server (.*))?",
        line,
    )
    assert found
    words = (found[1] or "").split()
    config = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
    with ServerProcess(config) as server:
        async with RedisChannelLayer(hosts=[server.url]) as layer:
            await layer.send("jobs", {"type": "job"})
            assert await layer.receive("jobs") == {"type": "job"}
    assert ("cannot keep what the queue promises" in caplog.text) is not bool(config)


@pytest.mark.parametrize("line", [*all_commands("python -c*"), *all_commands("fast-channels --version*")])
def test_commands_of_one_line_are_run(line: str) -> None:
    raw = next(
        each
        for name in PAGES
        for block in Page(name).blocks
        for each in block.code.replace("\\\n", " ").splitlines()
        if block.language in SHELL and " ".join(shlex.split(each, comments=True)) == line
    )
    program, *arguments = shlex.split(raw, comments=True)
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program], *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip()


@pytest.mark.parametrize("line", all_commands("fast-channels doctor --redis-url*"))
def test_the_first_look_at_a_new_server(line: str) -> None:
    with ServerProcess({"save": "3600 1 300 100 60 10000"}) as server:  # what servers do without a configuration
        program, *arguments = shlex.split(line.replace("redis://localhost:6379", server.url))
        done = subprocess.run(
            [sys.executable, *PROGRAMS[program], *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    assert re.findall(r"^ *(wrong|note) +(\w+)", done.stdout, re.MULTILINE) == [("note", "persistence")]
    assert done.returncode == 0


@pytest.mark.parametrize("line", all_commands("make *"))
def test_the_targets_that_are_named_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
