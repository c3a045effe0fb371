"""The judging page's pictures and figures."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from roinspect.errors import UserError
from roinspect.studio.inspectors import inspector, picture
from roinspect.studio.pages.shell import card, cards, note, plain, verdict_badge
from roinspect.studio.state.drawing import render
from roinspect.studio.state.project import Project
from roinspect.studio.state.regions import region
from roinspect.studio.state.results import Result, Which, chosen, histogram, read_results, tally
from roinspect.studio.thumbnails import data_uri

PER_PAGE = 24


def counts(found: list[Result], threshold: float) -> str:
    """What a threshold does, in large figures, and the scores about it."""
    told = tally(found, threshold)
    boxes = [
        (told.rejects, f"of {told.good} good parts rejected"),
        (told.escapes, f"of {told.defective} defective parts pass"),
    ]
    if told.unread:
        boxes.append((told.unread, "could not be read"))
    if told.unseen:
        boxes.append((told.unseen, "not inspectable"))
    figures = "".join(f"<div><b>{count:,}</b>{escape(words)}</div>" for count, words in boxes)
    return plain(f'<div class="tally" role="status">{figures}</div>', histogram(found, threshold))


def wall(
    project: Project, found: list[Result], threshold: float, which: Which, place: int
) -> tuple[str, int]:
    """A page of results, and which page it is."""
    kept = chosen(found, threshold, which)
    place = max(0, min(place, (len(kept) - 1) // PER_PAGE))
    shown = kept[PER_PAGE * place : PER_PAGE * (place + 1)]
    if not shown:
        return plain(note("There are none of these.")), 0
    first = PER_PAGE * place + 1
    span = f"{first:,} to {first + len(shown) - 1:,} of {len(kept):,}"
    head = f"<p>{span}; press one to look closer.</p>"
    return plain(head, cards(_card(project, one, threshold) for one in shown)), place


def _card(project: Project, one: Result, threshold: float) -> str:
    address = "/studio/thumbnail?" + urlencode({"project": project.id, "key": one.key})
    if one.error:
        return card(address, one.key, verdict_badge(None), key=one.key)
    wrong = one.is_wrong(threshold)
    words = verdict_badge(one.verdict(threshold)) + f" {one.pred_score:.4g}"
    words += " <b>wrong verdict</b>" if wrong else ""
    return card(address, one.key, words, key=one.key, css="wrong" if wrong else "")


def result_of(model: Path, key: str) -> Result:
    """One photograph's result.

    Raises:
        UserError: there is none.
    """
    result = next((one for one in read_results(model) if one.key == key), None)
    if result is None:
        raise UserError(
            "has no result", where=key or "no photograph", remedy="judge the test photographs again"
        )
    return result


def one_of(project: Project, model: Path, key: str, threshold: float) -> tuple[str, Result]:
    """One result at large: the photograph, what was found, and what that means.

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
    words += f"; score {result.pred_score:.4g}, {verdict_badge(result.verdict(threshold))}</p>"
    words += f"<p>{escape(result.reason)}</p>" if result.reason else ""
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
    pairs = (
        (data_uri(verdict.image, 640), "the photograph"),
        (data_uri(picture(verdict, mask), 640), "heat: dark is low, yellow is high; white line: the region"),
    )
    figures = "".join(
        f'<figure><img src="{uri}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
        for uri, words in pairs
    )
    return f'<div class="pictures">{figures}</div>'
