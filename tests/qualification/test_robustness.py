"""The strength at which a rate passes its limit, on pictures whose answer is known."""

from __future__ import annotations

from dataclasses import fields

from roinspect.qualification.outcomes import Row
from roinspect.qualification.plan import Robustness, Strengths
from roinspect.qualification.robustness import Disturbance, Robust

from .fakes import grey, inspector

NONE = {entry.name: () for entry in fields(Strengths)}


def run(good: list[int], defective: list[int], *, allowed: float = 0.0) -> Disturbance:
    """Brightness 10, 20 and 40 %; a picture is rejected from a mean of 127.5 on."""
    strengths = Strengths(**{**NONE, "brightness": (0.1, 0.2, 0.4)})
    plan = Robustness(false_reject_rate=allowed, escape_rate=allowed, strengths=strengths)
    model = inspector()
    robust = Robust(model, plan)
    for label, levels in enumerate((good, defective)):
        for level in levels:
            robust.add(Row("a", "", label, verdict=model.inspect(grey(level)).verdict or ""), grey(level))
    (found,) = robust.result()
    return found


def test_bright_good_parts_are_rejected_from_a_strength_on() -> None:
    # 110 * 1.1 passes, 110 * 1.2 does not.
    found = run([50, 110], [250])
    assert [level.not_passed for level in found.levels] == [0, 0, 1, 1]
    assert (found.holds_to, found.fails_at) == (0.1, 0.2)


def test_dark_defective_parts_escape_from_a_strength_on() -> None:
    # 150 * 0.9 is rejected, 150 * 0.8 is not.
    found = run([50], [150, 250])
    assert [level.escaped for level in found.levels] == [0, 0, 1, 1]
    assert (found.holds_to, found.fails_at) == (0.1, 0.2)


def test_the_worse_direction_counts_not_the_sum() -> None:
    # Brighter rejects the good part, darker passes the defective one: each counts once.
    found = run([100], [140])
    assert [(level.not_passed, level.escaped) for level in found.levels] == [(0, 0), (0, 1), (0, 1), (1, 1)]


def test_what_holds_at_all_strengths_fails_at_none() -> None:
    found = run([20], [255])
    assert (found.holds_to, found.fails_at) == (0.4, None)


def test_an_allowed_share_is_allowed() -> None:
    assert run([50, 110], [250], allowed=0.5).holds_to == 0.4


def test_wrong_without_a_disturbance_holds_nowhere() -> None:
    found = run([200], [250])
    assert (found.holds_to, found.fails_at) == (None, 0.0)
