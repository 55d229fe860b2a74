"""What `make links` asks: the links to other sites are found, and each is an address that can be asked."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from tests.docs.links import PAGES_WITH_LINKS, external_links, links_in, trouble_with
from tests.docs.pages import ROOT

PAGE = """
A [link](https://one.example.com/a/page#part), <https://two.example.com>, https://three.example.com. And [one][4].

[4]: https://four.example.com/page.html "Four"
<a href="https://five.example.com">five</a>, `https://no.example.com`

```sh
curl https://no.example.com
```
"""


def test_links_are_found_however_they_are_written() -> None:
    numbers = ("one.example.com/a/page", "two.example.com", "three.example.com", "four.example.com/page.html")
    assert links_in(PAGE) == [f"https://{each}" for each in (*numbers, "five.example.com")]


def test_every_link_of_the_pages_is_found() -> None:
    written = {
        link for page in PAGES_WITH_LINKS for link in re.findall(r"\]\((https?://[^)#\s]+)", (ROOT / page).read_text())
    }
    assert "https://asgi.readthedocs.io/en/latest/specs/main.html" in written
    assert written <= set(external_links())


@pytest.mark.parametrize("link", sorted(external_links()))
def test_each_is_a_whole_address(link: str) -> None:
    parts = urlsplit(link)
    assert parts.scheme == "https"
    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    assert re.fullmatch(r"[\w\-./~%?=&+]*", parts.path + parts.query)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_what_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "here.html").touch()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert trouble_with(f"{address}/here.html") == ""
        assert trouble_with(f"{address}/gone.html") == "404 File not found"
        server.shutdown()
    assert trouble_with(address).startswith("ConnectError")
