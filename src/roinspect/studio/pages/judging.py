"""Images and figures of the judging page."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from pathlib import Path

from roinspect.errors import UserError
from roinspect.studio.page_images import inspector, picture
from roinspect.studio.pages.elements import (
    card,
    cards,
    counts,
    figures,
    note,
    page_of,
    plain,
    thumbnail_address,
    verdict_badge,
)
from roinspect.studio.state.drawing import render
from roinspect.studio.state.project import Project
from roinspect.studio.state.regions import region
from roinspect.studio.state.results import Result, Which, chosen, histogram, result_of, tally


def figures_at(results: list[Result], threshold: float) -> str:
    """The counts at a threshold, and the histogram of the scores."""
    at = tally(results, threshold)
    boxes = [
        (at.rejects, f"of {at.good} good parts rejected"),
        (at.escapes, f"of {at.defective} defective parts pass"),
    ]
    boxes += [(at.unread, "could not be read")] if at.unread else []
    boxes += [(at.unseen, "not inspectable")] if at.unseen else []
    return plain(counts(*boxes), histogram(results, threshold))


def wall(
    project: Project, results: list[Result], threshold: float, which: Which, place: float
) -> tuple[str, int]:
    """A page of results, and its number."""
    at, shown, span = page_of(chosen(results, threshold, which), place)
    if not shown:
        return plain(note("There are no such photographs.")), 0
    return plain(
        f"<p>{span}; press one to look closer.</p>", cards(_card(project, one, threshold) for one in shown)
    ), at


def _card(project: Project, result: Result, threshold: float) -> str:
    address = thumbnail_address(project, result.key)
    if result.error:
        return card(address, result.key, verdict_badge(None), key=result.key)
    wrong = result.is_wrong(threshold)
    words = verdict_badge(result.verdict(threshold), score=result.pred_score)
    words += " <b>wrong verdict</b>" if wrong else ""
    return card(address, result.key, words, key=result.key, css="wrong" if wrong else "")


def one_of(project: Project, model: Path, key: str, threshold: float) -> tuple[str, Result]:
    """One result in detail: the photograph, the heat, the label and the verdict.

    Raises:
        UserError: there is no such result.
    """
    result = result_of(model, key)
    label = {0: "good", 1: "defective"}.get(result.label, "not labelled")
    whose = "a person says" if result.is_corrected else f"its folder says ({result.category})"
    says = f"{escape(whose)}: <b>{label}</b>"
    if result.is_outside_only and not result.is_corrected:
        says = f"its folder says {escape(result.category)}; the damage lies outside the region, so the part "
        says += "counts as <b>good</b>"
    words = f"<h3>{escape(key)}</h3><p>{says}"
    if result.error:
        return plain(words + "</p>", note(result.error, "problem")), result
    words += f"; {verdict_badge(result.verdict(threshold), result.reason, score=result.pred_score)}</p>"
    if result.is_wrong(threshold):
        words += "<p><b>The verdict is wrong.</b></p>"
    return plain(words, _figures(project, model, key)), result


def _figures(project: Project, model: Path, key: str) -> str:
    try:
        verdict = inspector(model).inspect(project.record(key).image_path)
    except UserError as error:
        return note(str(error), "problem")
    mask = None
    with suppress(UserError):
        drawn = render(region(project, key).drawing)
        mask = drawn if drawn.any() else None
    assert verdict.image is not None
    heat = "heat: dark is low, yellow is high; white line: the region"
    return figures((verdict.image, "the photograph"), (picture(verdict, mask), heat))
