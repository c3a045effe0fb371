"""Verdicts on new photographs: the large OK or NG, the trend of the scores, and a table to take along."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from roinspect.studio.pages.elements import counts

TREND = 200
"""Most points of a trend."""

_WIDTH, _HEIGHT, _MARGIN = 480, 110, 8
_LIGHTS = {
    "good": ("good", "✓ OK"),
    "defective": ("bad", "✕ NG"),
    "not inspectable": ("error", "! Not inspectable"),
    None: ("error", "! No verdict"),
}


class Row(NamedTuple):
    """One inspected photograph."""

    time: float
    """Of the inspection, or of the camera's file; seconds since 1970."""
    photograph: str
    verdict: str | None
    """None if it could not be read."""
    score: float
    threshold: float
    model: str
    reason: str = ""
    """Why there is no verdict, or why it is not inspectable."""


def light(verdict: str | None, name: str) -> str:
    """OK, NG or not inspectable, large, with the photograph's name."""
    css, word = _LIGHTS[verdict]
    return f'<p class="light {css}" role="status">{word}<small>{escape(name)}</small></p>'


def caption(row: Row) -> str:
    """Verdict, score, time and model, for the photograph's card."""
    css, word = _LIGHTS[row.verdict]
    score = "" if row.verdict is None else f" {row.score:.4g}"
    reason = f' <span class="name">{escape(row.reason)}</span>' if row.reason else ""
    made = f'<span class="soft">{clock(row.time)} · {escape(row.model)}</span>'
    return f'<span class="verdict {css}">{word}</span>{score}{reason}{made}'


def clock(seconds: float) -> str:
    """Date and time of this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def tally_of(verdicts: Sequence[str | None]) -> str:
    """How many are inspected, OK, NG, not inspectable and, if any, unreadable."""
    unread = verdicts.count(None)
    boxes = [(len(verdicts) - unread, "inspected"), (verdicts.count("good"), "OK")]
    boxes += [(verdicts.count("defective"), "NG"), (verdicts.count("not inspectable"), "not inspectable")]
    return counts(*boxes, *([(unread, "could not be read")] if unread else []))


def trend(rows: Sequence[Row]) -> str:
    """The scores of the latest photographs with a score as SVG, oldest left; "" for fewer than two."""
    shown = [row for row in rows if row.verdict is not None][-TREND:]
    if len(shown) < 2:
        return ""
    levels = [row.score for row in shown] + [shown[-1].threshold]
    low, span = min(levels), (max(levels) - min(levels)) or 1.0

    def y_of(score: float) -> float:
        return _HEIGHT - _MARGIN - (score - low) / span * (_HEIGHT - 2 * _MARGIN)

    step = (_WIDTH - 2 * _MARGIN) / (len(shown) - 1)
    places = [(_MARGIN + step * at, y_of(row.score), row) for at, row in enumerate(shown)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    dots = "".join(
        f'<circle class="{_LIGHTS[row.verdict][0]}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y, row in places
    )
    limit = y_of(shown[-1].threshold)
    words = f"Scores of the latest {len(shown)} photographs, oldest left"
    return (
        f'<figure class="trend"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{words}">'
        f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{limit:.1f}" y2="{limit:.1f}"/>'
        f'<polyline points="{line}"/>{dots}</svg>'
        f"<figcaption>{words}; NG from the dashed line ({shown[-1].threshold:.4g}) on</figcaption></figure>"
    )


def verdicts_csv(rows: Iterable[Row]) -> str:
    """The rows as a table, with a header."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("time", "photograph", "verdict", "score", "threshold", "model", "reason"))
    for row in rows:
        numbers = ("", "") if row.verdict is None else (repr(row.score), repr(row.threshold))
        writer.writerow(
            (clock(row.time), row.photograph, row.verdict or "no verdict", *numbers, row.model, row.reason)
        )
    return text.getvalue()
