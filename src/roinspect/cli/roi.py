"""`roinspect roi`: commands for regions of interest."""

from __future__ import annotations

import importlib

from roinspect.errors import UserError, nearest

VERBS = {
    "predict": "predict masks with a trained segmenter for photographs that have none",
    "convert": "convert annotations or masks to another format",
}
"""Each is a file `roi_VERB.py` in this folder."""


def run(arguments: list[str]) -> int:
    """Predict regions of interest, or convert annotations."""
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
