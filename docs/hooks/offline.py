"""The script with which the search works from a folder comes with the site, not from another server."""

from __future__ import annotations

from typing import Any

from mkdocs.utils import get_relative_url

ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
HERE = "vendor/iframe-worker.js"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Replace the address that the theme writes."""
    return output.replace(ELSEWHERE, get_relative_url(HERE, page.url))


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for pages without a source, such as 404.html, which a server sends from its root."""
    return output_content.replace(ELSEWHERE, f"/{HERE}")
