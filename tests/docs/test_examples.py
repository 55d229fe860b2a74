"""The pages that show the examples show them whole, and the commands that they print are about them."""

import importlib.util
import re
import shlex

import pytest

from tests.docs.pages import ROOT, Page

EXAMPLES = {
    "arq": ["arq"],
    "celery": ["celery"],
    "django": ["django"],
    "flask": ["flask", "script"],
    "rq": ["rq"],
}
"""The examples that each page shows."""

LEFT_OUT = {"examples/django/urls.py"}
MODULE = re.compile(r"examples\.\w+\.\w+")

each_page = pytest.mark.parametrize("page", EXAMPLES)


@each_page
def test_every_file_is_shown(page: str) -> None:
    files = {
        path.relative_to(ROOT).as_posix() for name in EXAMPLES[page] for path in (ROOT / "examples" / name).glob("*.py")
    }
    assert dict(Page(f"docs/howto/{page}.md").files).keys() == files - LEFT_OUT


@each_page
def test_the_commands_name_what_exists_and_what_the_tests_run(page: str) -> None:
    tested = "".join((ROOT / "tests" / "examples" / f"test_{name}.py").read_text() for name in EXAMPLES[page])
    shell = [block.code for block in Page(f"docs/howto/{page}.md").blocks if block.language == "sh"]
    commands = [shlex.split(line) for code in shell for line in code.splitlines()]
    assert commands
    for command in commands:
        assert command[0] in tested
        for word in command[1:]:
            assert word in tested or word in ("--port", "8000", "8001"), word
            for module in MODULE.findall(word):
                assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_every_example_has_a_page() -> None:
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    shown = {name for names in EXAMPLES.values() for name in names}
    assert shown <= folders
    assert importlib.util.find_spec("tests.examples") is not None
