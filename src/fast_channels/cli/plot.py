"""The results of `fast-channels bench` as a picture: bars in plain SVG, readable on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Bar", "svg"]

WIDTH: Final = 720
LABELS: Final = 280
ROW: Final = 24
HEAD: Final = 52

STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.note { fill: #59636e }
rect { fill: #1a7f5a }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } rect { fill: #3fb68b } }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, and what stands behind it."""

    label: str
    value: float
    text: str


def svg(title: str, note: str, bars: Sequence[Bar]) -> str:
    """The bars below each other, under a title and a note."""
    top = max((bar.value for bar in bars), default=0) or 1
    height = HEAD + ROW * len(bars) + 12
    drawn = "\n".join(_bar(bar, HEAD + ROW * number, bar.value / top) for number, bar in enumerate(bars))
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{STYLE}</style>\n'
        f'<text class="title" x="8" y="24">{escape(title)}</text>\n'
        f'<text class="note" x="8" y="42">{escape(note)}</text>\n{drawn}\n</svg>\n'
    )


def _bar(bar: Bar, y: int, share: float) -> str:
    length = (WIDTH - LABELS - 110) * share
    return (
        f'<text x="{LABELS - 8}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect x="{LABELS}" y="{y}" width="{max(length, 1):.1f}" height="16" rx="2"/>'
        f'<text x="{LABELS + length + 6:.1f}" y="{y + 12}">{escape(bar.text)}</text>'
    )
