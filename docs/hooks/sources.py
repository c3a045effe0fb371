"""Links that leave the docs, which a repository's browser follows, are given a place in the site.

A module's file leads to its place in the API reference, a notebook to its page; any other file is named.
"""

from __future__ import annotations

import re
from typing import Any

FOLDERS = "src|benchmarks|examples|packaging|tests"
LINK = re.compile(rf"\[([^\]]+)\]\((?:\.\./)+(?P<path>(?:{FOLDERS})/[^)#]*|[A-Z]+\.md)\)")
NOTEBOOK = re.compile(r"\.ipynb\)(?!\{ download)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite the page's links."""
    return NOTEBOOK.sub(".md)", LINK.sub(_inside, markdown))


def _inside(found: re.Match[str]) -> str:
    text, path = found[1], found["path"]
    if path.startswith("src/") and path.endswith(".py"):
        module = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"[{text}][{module}]"
    return text if path in text else f"{text} (`{path}`)"
