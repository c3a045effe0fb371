"""`roinspect roi`: what is done to regions of interest. No logic of its own."""

from __future__ import annotations

import importlib

from roinspect.errors import UserError, nearest

VERBS = {
    "predict": "masks for photographs that have none, by a trained segmenter",
    "convert": "annotations or masks, in another format",
}
"""Each is a file `roi_NAME.py` in this folder."""


def run(arguments: list[str]) -> int:
    """Regions of interest: predict them, convert them."""
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:10}{meaning}" for name, meaning in VERBS.items()]
        print("\n".join(["usage: roinspect roi VERB ...", "", *lines]))
        return 0
    if verb not in VERBS:
        raise UserError(
            f"no such verb{nearest(verb, VERBS)}",
            where=f"roi {verb}",
            remedy=f"use one of {', '.join(VERBS)}",
        )
    code: int = importlib.import_module(f"roinspect.cli.roi_{verb}").run(rest)
    return code
