"""The reference has everything that is public, and each thing says what it takes and what it raises."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import griffe
import pytest

from fast_channels import exceptions
from tests.docs.pages import ROOT, Page

API = "docs/api.md"

MODULES = [
    name
    for name in re.findall(r"^::: ([\w.]+)$", Page(API).text, re.MULTILINE)
    if (ROOT / "src" / name.replace(".", "/")).is_dir() or (ROOT / "src" / f"{name.replace('.', '/')}.py").exists()
]
"""The public modules: those that the page shows."""

UNITS = {
    "second": ("timeout", "expiry", "group_expiry", "send_timeout", "retry_delay", "grace", "interval", "over"),
    "byte": ("max_message_size",),
}
"""What the docstring must say of a parameter of such a name."""

ERRORS = set(exceptions.__all__) - {"AcceptConnection", "DenyConnection", "StopConsumer"}


def public() -> Iterator[tuple[str, Any]]:
    """Everything that a public module offers, by its path."""
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            yield f"{module}.{name}", getattr(importlib.import_module(module), name)


def callables() -> dict[str, tuple[Callable[..., Any], str]]:
    """The public functions, and methods of public classes, each with all that is said about it."""
    found: dict[str, tuple[Callable[..., Any], str]] = {}
    for path, thing in public():
        if inspect.isclass(thing):
            said = "\n".join(inspect.getdoc(each) or "" for each in thing.__mro__ if each is not object)
            for name, method in inspect.getmembers(thing, inspect.isfunction):
                is_ours = (method.__module__ or "").startswith("fast_channels")
                if is_ours and not is_dataclass(thing) and (name == "__init__" or not name.startswith("_")):
                    found[f"{path}.{name}"] = method, f"{inspect.getdoc(getattr(thing, name))}\n{said}"
        elif inspect.isfunction(thing):
            found[path] = thing, inspect.getdoc(thing) or ""
    return {path: found[path] for path in found if not path.startswith("fast_channels.testing.contract")}


CALLABLES = callables()
each_callable = pytest.mark.parametrize("path", CALLABLES)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names that the built site has a place for."""
    site = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(packed).decode().splitlines()}


@pytest.fixture(scope="module")
def source() -> Any:
    """The package as the reference reads it."""
    return griffe.load("fast_channels", search_paths=[ROOT / "src"], resolve_aliases=True)


@pytest.mark.timeout(300)
def test_everything_public_is_rendered(inventory: set[str]) -> None:
    missing = [path for path, _ in public() if path not in inventory]
    assert missing == []


def test_everything_public_is_documented(source: Any) -> None:
    paths = [path for path, _ in public()]
    assert len(paths) > 100
    bare = [path for path in paths if not source[path.removeprefix("fast_channels.")].has_docstring]
    assert bare == []


@each_callable
def test_a_parameter_says_its_unit(path: str) -> None:
    function, said = CALLABLES[path]
    for unit, names in UNITS.items():
        for name in set(names) & set(inspect.signature(function).parameters):
            is_counted = unit in said.lower() or f"{name}: accepted for compatibility and ignored" in said
            assert is_counted, f"{path}: in what is {name} counted?"


def name_of(called: ast.Name | ast.Attribute) -> str:
    """The name of what is called."""
    return called.id if isinstance(called, ast.Name) else called.attr


@each_callable
def test_the_errors_that_it_raises_are_said(path: str) -> None:
    function, said = CALLABLES[path]
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = {
        name_of(call)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for call in [node.exc.func]
        if isinstance(call, ast.Name | ast.Attribute) and name_of(call) in ERRORS
    }
    assert sorted(name for name in raised if name not in said) == []


def test_a_missing_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin."""

    def wait(timeout: float) -> None:
        """Wait for `timeout`."""
        raise exceptions.ServerRefused("server", "no")

    monkeypatch.setitem(CALLABLES, "wait", (wait, str(wait.__doc__)))
    monkeypatch.setattr(sys.modules[__name__], "ERRORS", {"ServerRefused"})
    with pytest.raises(AssertionError):
        test_a_parameter_says_its_unit("wait")
    with pytest.raises(AssertionError):
        test_the_errors_that_it_raises_are_said("wait")
