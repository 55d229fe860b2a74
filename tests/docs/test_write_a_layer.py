"""The page on layers of one's own: its layers pass the suite, the one that is only begun does not."""

import re
from pathlib import Path

import pytest

from fast_channels.layers import BaseChannelLayer
from tests.docs.pages import Page
from tests.docs.running import Running, commands

PAGE = "docs/howto/write-a-layer.md"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Page(PAGE).write_files(tmp_path)
    return tmp_path


async def test_the_layers_of_the_page_pass_the_suite(folder: Path) -> None:
    [line] = commands(Page(PAGE), "pytest")
    async with Running(folder) as running:
        printed = await running.run(f"{line} -W error -p no:cacheprovider -p no:valkey test_measured.py test_tiny.py")
    [passed] = re.findall(r"(\d+) passed", printed)
    assert int(passed) > 250
    assert "failed" not in printed


async def test_a_layer_that_is_only_begun_is_told_what_is_missing(folder: Path) -> None:
    [line] = commands(Page(PAGE), "pytest")
    async with Running(folder) as running:
        process = await running.start(f"{line} -p no:cacheprovider -p no:valkey -q --tb=no test_mine.py")
        printed = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "FAILED test_mine.py::TestMyLayer::test_a_message_arrives - NotImplementedError" in printed


def test_the_methods_of_the_table_are_those_that_the_base_class_leaves_open() -> None:
    rows = re.findall(r"^\| (`\w.*?) \|", Page(PAGE).text.partition("## A backend")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    left_open = {
        name
        for name, thing in vars(BaseChannelLayer).items()
        if callable(thing) and "NotImplementedError" in getattr(getattr(thing, "__code__", None), "co_names", ())
    }
    assert named == left_open | {"close", "statistics", "inspect"}
