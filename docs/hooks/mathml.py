"""Equations become MathML as the site is built: browsers draw it themselves, without scripts or a network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
TAG = re.compile(r"\\tag\{([^}]*)\}")


def on_page_content(content: str, **_: Any) -> str:
    """Replace what pymdownx.arithmatex found in the page."""
    return INLINE.sub(_inline, DISPLAY.sub(_display, content))


def _inline(found: re.Match[str]) -> str:
    return convert(html.unescape(found[1]))


def _display(found: re.Match[str]) -> str:
    tex = html.unescape(found[1])
    number = TAG.search(tex)
    label = f'<span class="equation-number">({html.escape(number[1])})</span>' if number else ""
    return f'<div class="equation">{convert(TAG.sub("", tex).strip(), display="block")}{label}</div>'
