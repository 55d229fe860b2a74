"""A wheel built from this checkout works in an environment that holds nothing but what the wheel asks for."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fast_channels

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "fast_channels"
NEED_PYTEST = ("fast_channels.testing.pytest_plugin", "fast_channels.testing.contract")
NAMES_THE_EXTRA = 'pip install "fast-channels[redis]"'

# All workers but one would otherwise build the wheel again.
pytestmark = pytest.mark.xdist_group("package")

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import fast_channels

without = tuple(sys.argv[1:])
# A package that does not import has an error of its own below, unless it is left out.
found = pkgutil.walk_packages(fast_channels.__path__, "fast_channels.", onerror=lambda name: None)
names = [module.name for module in found]
names = [name for name in names if not name.startswith(without)] if without else names
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""


class Environment:
    """A virtual environment of its own, with the distributions that it was given."""

    def __init__(self, folder: Path) -> None:
        venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))

    def pip(self, *arguments: str) -> str:
        """Run this interpreter's pip on the environment, with no index: it takes what it is given."""
        command = [
            sys.executable,
            "-m",
            "pip",
            "--isolated",
            "--disable-pip-version-check",
            "--python",
            str(self.python),
        ]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout

    def copy(self, distribution: importlib.metadata.Distribution) -> None:
        """Put a distribution that is installed beside the tests into the environment."""
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = self.site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), target)

    def run(self, code: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
        """The output of `code`, run with nothing but the environment in reach; an error fails the test."""
        command = [str(self.python), "-I", "-W", "error", *flags, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.site_packages)
        assert done.returncode == 0, done.stderr
        return done.stdout


def required(requirements: list[str], extra: str = "") -> dict[str, importlib.metadata.Distribution]:
    """The distributions that `requirements` ask for, with what those ask for, as they are installed here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            distribution = importlib.metadata.distribution(requirement.name)
            found[requirement.name] = distribution
            for inner in requirement.extras | {""}:
                found |= required(distribution.requires or [], inner)
    return found


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def installed(folder: Path, wheel: Path, extra: str) -> Environment:
    environment = Environment(folder)
    for distribution in required(metadata_of(wheel).get_all("Requires-Dist", []), extra).values():
        environment.copy(distribution)
    environment.pip("install", "--quiet", "--no-index", "--no-deps", str(wheel))
    return environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`pip install fast-channels`."""
    return installed(tmp_path_factory.mktemp("bare"), wheel, extra="")


@pytest.fixture(scope="module")
def with_redis(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`pip install "fast-channels[redis]"`."""
    return installed(tmp_path_factory.mktemp("redis"), wheel, extra="redis")


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = {path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.is_file()}
    caches = {path for path in files if any(part.startswith((".", "__pycache__")) for part in path.parts)}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "fast_channels/py.typed" in packed
    assert packed == {path.as_posix() for path in files - caches}


def test_the_wheel_says_what_it_is_and_needs(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    base = {Requirement(text).name for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text}
    assert metadata["Version"] == fast_channels.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert base == {"msgspec", "asgiref"}
    assert {"redis", "cli"} == set(metadata.get_all("Provides-Extra", []))


@pytest.mark.parametrize("name", ["bare", "with_redis"])
def test_what_the_wheel_asks_for_is_all_that_there_is(name: str, request: pytest.FixtureRequest) -> None:
    environment: Environment = request.getfixturevalue(name)
    assert "No broken requirements" in environment.pip("check")


@pytest.mark.parametrize("flags", [(), ("-O",), ("-OO",)])
def test_without_extras_everything_but_the_redis_layers_imports(bare: Environment, flags: tuple[str, ...]) -> None:
    needing_more = ("fast_channels.layers.redis", "fast_channels.cli", *NEED_PYTEST)
    imported = json.loads(bare.run(IMPORT_EVERYTHING, *needing_more, flags=flags))
    assert {"fast_channels.layers.in_memory", "fast_channels.names"} <= set(imported)


@pytest.mark.parametrize("flags", [(), ("-O",), ("-OO",)])
def test_with_the_extra_everything_imports(with_redis: Environment, flags: tuple[str, ...]) -> None:
    imported = json.loads(with_redis.run(IMPORT_EVERYTHING, "fast_channels.cli", *NEED_PYTEST, flags=flags))
    assert "fast_channels.layers.redis" in imported


TOUCH = """
import sys
from fast_channels import layers

for touch in (
    f"layers.{sys.argv[1]}",
    f"hasattr(layers, '{sys.argv[1]}')",
    f"exec('from fast_channels.layers import {sys.argv[1]}')",
    f"exec('from fast_channels.layers.redis import {sys.argv[1]}')",
):
    try:
        eval(touch)
    except ImportError as error:
        print(error)
    else:
        raise SystemExit(f"{touch} raised nothing")
"""


@pytest.mark.parametrize("layer", ["RedisPubSubChannelLayer"])
def test_touching_a_redis_layer_without_the_extra_names_the_extra(bare: Environment, layer: str) -> None:
    said = bare.run(TOUCH, layer).splitlines()
    assert len(said) == 4
    assert all(NAMES_THE_EXTRA in line for line in said), said


@pytest.mark.parametrize("layer", ["RedisPubSubChannelLayer"])
def test_with_the_extra_a_redis_layer_can_be_made(with_redis: Environment, layer: str) -> None:
    code = f"from fast_channels import layers; print(type(layers.{layer}(hosts=['redis://localhost:1'])).__name__)"
    assert with_redis.run(code).strip() == layer


def test_without_the_extra_the_command_names_it(bare: Environment) -> None:
    code = """
from fast_channels.cli import main

try:
    main()
except SystemExit as end:
    print(end)
"""
    assert bare.run(code).strip().endswith('pip install "fast-channels[cli]"')


def test_with_the_extra_there_is_a_command(tmp_path: Path, wheel: Path) -> None:
    environment = installed(tmp_path, wheel, extra="cli")
    command = environment.python.parent / "fast-channels"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dead-letters" in done.stdout


VALIDATE = """
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.names import check_prefix

layer = InMemoryChannelLayer()
for call in (
    lambda: layer.require_valid_channel_name("no spaces"),
    lambda: layer.require_valid_group_name("room\\n"),
    lambda: InMemoryChannelLayer(capacity=0),
    lambda: InMemoryChannelLayer(expiry=0),
    lambda: check_prefix("a|b"),
):
    try:
        call()
    except (TypeError, ValueError):
        continue
    raise SystemExit("bad input was accepted")
"""


def test_validation_survives_optimisation(bare: Environment) -> None:
    bare.run(VALIDATE, flags=("-O",))


def test_a_program_that_uses_the_in_memory_layer_runs(bare: Environment) -> None:
    code = """
import asyncio
from fast_channels.layers import InMemoryChannelLayer

async def main():
    async with InMemoryChannelLayer() as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "chat.message", "text": "hello"})
        print((await layer.receive(channel))["text"])

asyncio.run(main())
"""
    assert bare.run(code).strip() == "hello"
