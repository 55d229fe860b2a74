"""Which origins match which patterns: plain functions of text.

An origin is what a browser writes into its header: `https://example.com` or `https://example.com:8443`. Whatever else
it holds (userinfo, a path, a port that there is not, blanks) makes it malformed, and nothing matches a malformed
origin.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address

__all__ = ["DEFAULT_PORTS", "Origin", "OriginPattern", "matches", "parse_origin", "parse_pattern"]

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
"""The port of an origin that names none, by scheme."""

HOST = r"(?P<host>\[[^\[\]\s/?#@]+\]|[^\[\]\s:/?#@\\]+)"
PORT = r"(?::(?P<port>[0-9]{1,5}))?"
SCHEME = r"(?P<scheme>[a-z][a-z0-9+.-]*)://"

origin_regex = re.compile(f"{SCHEME}{HOST}{PORT}/?", re.IGNORECASE | re.ASCII)
pattern_regex = re.compile(rf"(?:{SCHEME})?(?P<suffix>\.)?{HOST}{PORT}(?:[/?#].*)?", re.IGNORECASE | re.ASCII)
label_regex = re.compile(r"[a-z0-9_-]{1,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """A well-formed origin; two that name the same place are equal. `port` is None if the scheme has no default."""

    scheme: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """What an origin must be. None stands for any scheme; without a scheme and a port, any port."""

    scheme: str | None
    host: str
    port: int | None
    subdomains: bool
    """Whether the host's subdomains match as well as the host itself: the pattern began with a period."""


def parse_origin(text: str) -> Origin | None:
    """The origin in `text`; None if it is malformed. A slash at its end does no harm."""
    found = origin_regex.fullmatch(text) if text.isascii() else None
    if found is None:
        return None
    scheme = found["scheme"].lower()
    host = _normal_host(found["host"])
    port = _port(found["port"], scheme)
    if host is None or port == _NO_PORT:
        return None
    return Origin(scheme, host, port)


@lru_cache(maxsize=512)
def parse_pattern(text: str) -> OriginPattern | None:
    """The pattern in `text`; None if no origin can match it.

    Patterns are `example.com` (any scheme and port), `.example.com` (its subdomains too), `example.com:8000` (any
    scheme), `https://example.com` (the scheme's own port) and `https://.example.com:8443`. A name with other letters
    than ASCII's stands for what a browser makes of it (`xn--…`); an IPv6 address may stand without brackets. Blanks
    around are ignored.
    """
    text = text.strip()
    if _is_ipv6(text):
        text = f"[{text}]"
    found = pattern_regex.fullmatch(text)
    host = _normal_host(found["host"]) if found else None
    if found is None or host is None:
        return None
    scheme = found["scheme"] and found["scheme"].lower()
    port = _port(found["port"], scheme)
    return None if port == _NO_PORT else OriginPattern(scheme, host, port, found["suffix"] is not None)


def matches(origin: Origin, pattern: OriginPattern) -> bool:
    """Whether `origin` is what `pattern` asks for."""
    if pattern.scheme is not None and pattern.scheme != origin.scheme:
        return False
    any_port = pattern.scheme is None and pattern.port is None
    if not any_port and pattern.port != origin.port:
        return False
    return origin.host == pattern.host or (pattern.subdomains and origin.host.endswith(f".{pattern.host}"))


_NO_PORT = -1


def _port(text: str | None, scheme: str | None) -> int | None:
    if text is None:
        return DEFAULT_PORTS.get(scheme or "")
    port = int(text)
    return port if port < 65536 else _NO_PORT


def _normal_host(host: str) -> str | None:
    """`host` in the one form in which hosts are compared; None if it is none."""
    if host.startswith("["):
        return f"[{IPv6Address(host[1:-1]).compressed}]" if _is_ipv6(host[1:-1]) else None
    labels = [_ascii_label(label) for label in unicodedata.normalize("NFKC", host).removesuffix(".").split(".")]
    return ".".join(labels) if all(label_regex.fullmatch(label) for label in labels) else None


def _ascii_label(label: str) -> str:
    # not the `idna` codec: it takes "faß.de" for "fass.de", which belongs to somebody else
    label = unicodedata.normalize("NFC", label.lower())
    return label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False
