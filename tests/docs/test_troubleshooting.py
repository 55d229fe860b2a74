"""The page on troubleshooting has everything that the library may say, and quotes it as it is said."""

import re
from collections.abc import Iterator

import pytest

from fast_channels import exceptions
from tests.docs.pages import Page
from tests.docs.said import GAP, as_pattern, log_lines, texts_in_source, texts_of_errors

NAME = "docs/troubleshooting.md"

CODE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")


def quotes() -> list[str]:
    """Everything that the page sets as code, each on one line."""
    text = re.sub(r"^```.*?^```$", "", Page(NAME).text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(quoted.split()) for quoted in CODE.findall(text)]


def headings() -> Iterator[str]:
    """The headings that quote something: what was said, without the name of the error."""
    for heading in re.findall(r"^### `([^`]+)`$", Page(NAME).text, re.MULTILINE):
        kind, colon, text = heading.partition(": ")
        yield text if colon and kind in vars(exceptions) | {"ClientGone": 0, "SerializerDoesNotExist": 0} else heading


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", Page(NAME).text)


@pytest.mark.parametrize("text", texts_of_errors(), ids=lambda text: text.replace(GAP, "_"))
def test_every_text_of_an_error_is_on_the_page(text: str) -> None:
    assert any(as_pattern(text).search(quoted) for quoted in quotes()), text.replace(GAP, "…")


@pytest.mark.parametrize("line", log_lines(), ids=lambda line: line.replace(GAP, "_"))
def test_every_line_of_the_log_is_on_the_page(line: str) -> None:
    assert any(as_pattern(line).search(quoted) for quoted in quotes()), line.replace(GAP, "…")


@pytest.mark.parametrize("heading", list(headings()))
def test_what_a_heading_quotes_is_what_the_library_says(heading: str) -> None:
    if heading in vars(exceptions):
        return
    said = {part.strip(" ,.:;([") for shape in (*log_lines(), *texts_in_source()) for part in shape.split(GAP)}
    assert any(part in heading for part in said if len(part.split()) > 1), f"nobody says {heading}"


def rows_about_making_a_layer() -> list[str]:
    """The texts in the table of what a layer's constructor refuses, but for the one that is Python's own."""
    part = Page(NAME).text.partition("when a layer is made\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(.+?)` \|", part.replace("\\|", "/"), re.MULTILINE)
    return [row.replace("/'", "|'") for row in rows if "keyword argument" not in row]


@pytest.mark.parametrize("row", rows_about_making_a_layer())
def test_what_a_constructor_refuses_is_refused_in_these_words(row: str) -> None:
    assert any(row in text for text in texts_in_source())


def test_the_page_knows_what_stands_for_what() -> None:
    """The twins: a line that is on no page is found missing, and one that nobody says is found out."""
    assert not any(as_pattern(f"the cow of {GAP} is blue").search(quoted) for quoted in quotes())
    with pytest.raises(AssertionError):
        test_what_a_heading_quotes_is_what_the_library_says("the cow of room is blue")
