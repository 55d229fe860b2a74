"""The rules of the house: what every module keeps to, and which way imports go."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
MODULES = sorted(path for path in (SOURCE / "fast_channels").rglob("*.py"))
MOST_LINES_OF_A_FILE = 450
MOST_LINES_OF_A_FUNCTION = 50

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def is_public(path: Path) -> bool:
    return not any(part.startswith("_") for part in name_of(path).split("."))


def is_contract(path: Path) -> bool:
    """Whether `path` belongs to the contract suite, which is made of tests."""
    return name_of(path).startswith("fast_channels.testing.contract")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


# What a module is made of


@each_module
def test_every_public_module_says_what_it_offers(path: Path) -> None:
    if not is_public(path):
        return
    module = importlib.import_module(name_of(path))
    assert "__all__" in vars(module), "no __all__"
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@each_module
def test_everything_public_is_documented_itself_or_by_what_it_overrides(path: Path) -> None:
    if not is_public(path) or is_contract(path):
        return
    module = importlib.import_module(name_of(path))
    assert inspect.getdoc(module)
    assert not [name for name, thing in public_things(module) if not inspect.getdoc(thing)]


def public_things(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The classes and functions that `module` defines and offers, with the public methods of the classes."""
    for name in module.__all__:
        thing = getattr(module, name)
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        yield name, thing
        if inspect.isclass(thing):
            for attribute in vars(thing):
                if not attribute.startswith("_") and callable(getattr(thing, attribute)):
                    yield f"{name}.{attribute}", getattr(thing, attribute)


@each_module
def test_nothing_is_validated_by_assert(path: Path) -> None:
    """`python -O` removes assertions, and with them what they check."""
    if is_contract(path):
        return
    assert not [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]


@each_module
def test_web_frameworks_are_imported_only_where_they_are_used(path: Path) -> None:
    """The library serves any ASGI application: it imports without Starlette and FastAPI."""
    at_import = {name.partition(".")[0] for name in imported_by(tree_of(path).body)}
    assert not at_import & {"fastapi", "starlette", "uvicorn"}


def imported_by(statements: list[ast.stmt]) -> Iterator[str]:
    """The modules that `statements` import as soon as they run."""
    for statement in statements:
        match statement:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(name)):
                yield name
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=body) | ast.ClassDef(body=body):
                yield from imported_by(body)
            case ast.If() | ast.Try() | ast.With():
                blocks = [value for _, value in ast.iter_fields(statement) if isinstance(value, list)]
                yield from imported_by([inner for block in blocks for inner in block if isinstance(inner, ast.stmt)])


@each_module
def test_a_file_holds_one_thought_and_a_function_fits_a_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES_OF_A_FILE
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [node.name for node in functions if lines_of_code(node) >= MOST_LINES_OF_A_FUNCTION]


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of the body of `function`, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


# Which way imports go


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the package in `folder` to the contracts in pyproject.toml."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_go_one_way() -> None:
    done = lint_imports(SOURCE)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("names.py", "from fast_channels.layers import base", "Imports go one way"),
        ("layers/registry.py", "from fast_channels import consumer", "Imports go one way"),
        ("helpers.py", "", "Imports go one way"),
        ("layers/in_memory.py", "import redis.asyncio", "Only the Redis layers know Redis"),
        ("serializers.py", "def late():\n    import hiredis", "Only the Redis layers know Redis"),
        ("layers/base.py", "from sandbox import layers", "The library knows nothing of what surrounds it"),
        ("worker/running.py", "import rich.console", "Only the command line knows the terminal"),
        ("worker/running.py", "from fast_channels import cli", "Imports go one way"),
    ],
)
def test_an_import_the_wrong_way_is_found(tmp_path: Path, module: str, line: str, broken: str) -> None:
    package = tmp_path / "fast_channels"
    shutil.copytree(SOURCE / "fast_channels", package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"{broken} BROKEN" in " ".join(done.stdout.split())


# What is in the repository


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# Written so that this file does not hold what it looks for.
OF_ONE_MACHINE = re.compile(
    r"(?m)^\s*(--(extra-)?index-url|--find-links|-i|-f)\b"  # pip options in a requirement file
    r"|https?://\S+/simple\b|\bfile:///\w"
    r"|(?<![\w.}/])/(work|root|home/\w+|Users/\w+|tmp/w)/"
)


@pytest.mark.parametrize(
    "line",
    [
        "--index" + "-url x",
        "  --find" + "-links y",
        "https://example.org/" + "simple",
        "from /" + "work/main",
        "/" + "root/.cache",
    ],
)
def test_a_line_of_one_machine_is_recognised(line: str) -> None:
    assert OF_ONE_MACHINE.search(line)


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group().strip()}"
        for path in tracked_files()
        if path != Path(__file__) and (text := readable(path)) and (match := OF_ONE_MACHINE.search(text))
    ]
    assert not found


def readable(path: Path) -> str:
    """The text of a file; nothing if it is none (an image)."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def test_what_the_library_needs_is_pinned_for_development() -> None:
    pins = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines()
        if line and not line.startswith("#")
        for requirement in [Requirement(line)]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    for requirement in map(Requirement, wanted):
        assert pins[requirement.name] in requirement.specifier
