"""The rules of origins and patterns, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.middleware.origins import Origin, matches, parse_origin, parse_pattern

ORIGINS = [
    ("http://example.com", Origin("http", "example.com", 80)),
    ("https://example.com", Origin("https", "example.com", 443)),
    ("ws://example.com", Origin("ws", "example.com", 80)),
    ("wss://example.com", Origin("wss", "example.com", 443)),
    ("HTTPS://Example.COM", Origin("https", "example.com", 443)),
    ("https://example.com:443", Origin("https", "example.com", 443)),
    ("https://example.com:8443", Origin("https", "example.com", 8443)),
    ("https://example.com:65535", Origin("https", "example.com", 65535)),
    ("https://example.com/", Origin("https", "example.com", 443)),
    ("https://example.com.", Origin("https", "example.com", 443)),
    ("http://localhost:3000", Origin("http", "localhost", 3000)),
    ("http://127.0.0.1:3000", Origin("http", "127.0.0.1", 3000)),
    ("http://[::1]", Origin("http", "[::1]", 80)),
    ("http://[0:0:0:0:0:0:0:1]:80", Origin("http", "[::1]", 80)),
    ("http://[2001:DB8::A]:81", Origin("http", "[2001:db8::a]", 81)),
    ("http://xn--bcher-kva.example", Origin("http", "xn--bcher-kva.example", 80)),
    ("http://my_host", Origin("http", "my_host", 80)),
    ("chrome-extension://abcdef", Origin("chrome-extension", "abcdef", None)),
    ("app://example:1", Origin("app", "example", 1)),
]

MALFORMED = [
    "",
    " ",
    "null",
    "*",
    "example.com",
    "//example.com",
    "http:",
    "http://",
    "http:///",
    "http:example.com",
    "://example.com",
    "1http://example.com",
    "file:" + "///",
    "https://h:99999",
    "https://h:65536",
    "https://h:",
    "https://h:x",
    "https://h:-1",
    "https://h:٣",
    "https://h:80:80",
    "https://[::1",
    "https://::1",
    "https://[::1]x",
    "https://[::1%25eth0]",
    "https://[example.com]",
    "https://[]",
    "https://evil@example.com",
    "https://user:password@example.com",
    "https://@example.com",
    "https://example.com@evil.com",
    "https://evil.com\\.example.com",
    "https://evil.com/.example.com",
    "https://evil.com#.example.com",
    "https://evil.com?.example.com",
    "https://example.com/path",
    "https://example.com//",
    "https://example.com?",
    "https://example.com#",
    "https://example.com https://example.com",
    "https://example.com,https://example.com",
    " https://example.com",
    "https://example.com ",
    "https://exam\tple.com",
    "https://example.com\n",
    "https://example.com\0",
    "https://.example.com",
    "https://example..com",
    "https://example.com..",
    "https://.",
    "https://*.example.com",
    "https://exam%70le.com",
    "https://bücher.example",
    "https://\uff45xample.com",
    f"https://{'a' * 64}.com",
]


@pytest.mark.parametrize(("text", "origin"), ORIGINS)
def test_well_formed_origins(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_origins(text: str) -> None:
    assert parse_origin(text) is None


MATCHES = [
    ("example.com", "http://example.com https://example.com https://example.com:8443 app://example.com"),
    ("EXAMPLE.com", "http://example.com"),
    ("example.com.", "http://example.com http://example.com."),
    (" example.com ", "http://example.com"),
    (".example.com", "http://example.com http://a.example.com https://a.b.example.com:81"),
    ("example.com:8000", "http://example.com:8000 https://example.com:8000"),
    ("example.com:443", "https://example.com"),
    (".example.com:80", "http://example.com http://a.example.com:80"),
    ("http://example.com", "http://example.com http://example.com:80"),
    ("http://example.com:80", "http://example.com http://example.com:80"),
    ("HTTPS://Example.com", "https://example.com https://example.com:443"),
    ("https://.example.com", "https://example.com https://a.example.com"),
    ("https://.example.com:8443", "https://a.example.com:8443"),
    ("https://example.com/path?x#y", "https://example.com"),
    ("localhost", "http://localhost http://localhost:3000"),
    ("127.0.0.1", "http://127.0.0.1:5173"),
    ("::1", "http://[::1] http://[::1]:8000"),
    ("[::1]", "http://[::1] http://[0:0::1]"),
    ("[::1]:8000", "http://[::1]:8000"),
    ("http://[0::1]:80", "http://[::1]"),
    ("bücher.example", "http://xn--bcher-kva.example"),
    ("BÜCHER.example", "http://xn--bcher-kva.example"),
    (".bücher.example", "http://shop.xn--bcher-kva.example"),
    ("faß.de", "http://xn--fa-hia.de"),
    ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ("app://example:1", "app://example:1"),
]

NO_MATCHES = [
    ("example.com", "http://a.example.com http://example.com.evil.com http://aexample.com http://example.org"),
    (".example.com", "http://aexample.com http://example.com.evil.com http://com"),
    ("example.com:8000", "http://example.com http://example.com:8001 http://a.example.com:8000"),
    ("http://example.com", "https://example.com http://example.com:81 ws://example.com http://a.example.com"),
    ("http://example.com:443", "https://example.com"),
    ("https://example.com", "wss://example.com"),
    ("https://.example.com", "https://a.example.com:8443 http://a.example.com"),
    ("app://example:1", "app://example"),
    ("app://example", "app://example:80"),
    ("faß.de", "http://fass.de"),
    ("null", "http://nul"),
]

NO_PATTERNS = [
    "",
    " ",
    "*",
    "http://*",
    "*.example.com",
    "http://*:8000",
    "..example.com",
    "http://",
    "//example.com",
    "http://example.com:abc",
    "example.com:99999",
    "http://user@example.com",
    "[::1",
    "a b.com",
    "example.com, example.org",
    f"{'ü' * 63}.example",
]


def pairs(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(pattern, origin) for pattern, origins in table for origin in origins.split()]


def is_match(pattern: str, text: str) -> bool:
    origin, wanted = parse_origin(text), parse_pattern(pattern)
    assert origin is not None
    assert wanted is not None
    return matches(origin, wanted)


@pytest.mark.parametrize(("pattern", "origin"), pairs(MATCHES))
def test_a_pattern_matches(pattern: str, origin: str) -> None:
    assert is_match(pattern, origin)


@pytest.mark.parametrize(("pattern", "origin"), pairs(NO_MATCHES))
def test_a_pattern_does_not_match(pattern: str, origin: str) -> None:
    assert not is_match(pattern, origin)


@pytest.mark.parametrize("pattern", NO_PATTERNS)
def test_a_pattern_that_can_match_nothing(pattern: str) -> None:
    assert parse_pattern(pattern) is None


TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="htps:/.@[]#?%\\*1a-é ", max_size=30),
    st.builds("{}://{}".format, st.sampled_from(["http", "https", "app", "*"]), st.text(max_size=20)),
)


@given(text=TEXTS, pattern=TEXTS)
def test_no_text_raises(text: str, pattern: str) -> None:
    origin, wanted = parse_origin(text), parse_pattern(pattern)
    if origin is not None and wanted is not None:
        matches(origin, wanted)


@given(text=TEXTS)
def test_a_well_formed_origin_matches_itself_as_a_pattern(text: str) -> None:
    origin = parse_origin(text)
    if origin is not None:
        assert is_match(text, text)
        assert is_match(origin.host, text)


@given(text=TEXTS, pattern=st.sampled_from(["example.com", ".example.com", "https://.example.com"]))
def test_what_matches_is_that_host_or_its_subdomain(text: str, pattern: str) -> None:
    for candidate in (text, f"https://{text}.example.com", f"https://example.com{text}", f"https://{text}example.com"):
        origin = parse_origin(candidate)
        if origin is not None and is_match(pattern, candidate):
            assert origin.host == "example.com" or origin.host.endswith(".example.com")
