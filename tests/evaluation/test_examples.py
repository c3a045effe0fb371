"""The report shows of every kind of part the worst, and first where two models disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
from hypothesis import given
from hypothesis import strategies as st

from roinspect.data.records import Record
from roinspect.evaluation.examples import EXAMPLES, MISTAKES, VERDICTS, WORST, choose, verdict
from roinspect.evaluation.parts import Part

AT = 0.5
PARTS = st.lists(
    st.builds(
        lambda place, scores, reasons: Part(
            Record(Path("x.png"), "test", None, ""), int(place in ("inside", "both")), place, scores, reasons
        ),
        st.sampled_from(["none", "inside", "outside", "both"]),
        st.tuples(st.floats(0, 1), st.floats(0, 1)),
        st.tuples(*[st.sampled_from(["", "", "no region of interest was found"])] * 2),
    ),
    max_size=40,
)


def kind(part: Part) -> str:
    return verdict(part, part.pred_scores[0], AT, part.reasons[0])


def ranked(parts: list[Part], name: str) -> list[Part]:
    return sorted(
        (p for p in parts if kind(p) == name), key=lambda p: p.pred_scores[0], reverse=name != "escape"
    )


@given(PARTS)
def test_every_kind_is_shown_in_order_and_its_worst_first(parts: list[Part]) -> None:
    alone = [Part(p.record, p.label, p.place, p.pred_scores[:1], p.reasons[:1]) for p in parts]
    chosen = choose(alone, [AT])
    assert min(len(parts), EXAMPLES) <= len(chosen) <= EXAMPLES + MISTAKES * WORST
    assert {kind(part) for part in chosen} == {kind(part) for part in alone}
    shown = ["rightly rejected", *(name for name in VERDICTS if name != "rightly rejected")]
    places = [shown.index(kind(part)) for part in chosen]
    assert places == sorted(places)
    for name in VERDICTS:
        of_kind = [part.pred_scores for part in chosen if kind(part) == name]
        assert of_kind == [part.pred_scores for part in ranked(alone, name)][: len(of_kind)]
        if VERDICTS.index(name) < MISTAKES:
            assert len(of_kind) >= min(WORST, len(ranked(alone, name)))


@given(PARTS)
def test_disagreement_comes_first(parts: list[Part]) -> None:
    def agree(part: Part) -> bool:
        return len({score >= AT for score in part.pred_scores}) == 1

    chosen = choose(parts, [AT, AT])
    for name in VERDICTS:
        agreeing = [agree(part) for part in chosen if kind(part) == name]
        assert agreeing == sorted(agreeing)
        if any(agreeing):
            # No part that would have told more was left out for one on which both models agree.
            assert agreeing.count(False) == sum(not agree(p) for p in parts if kind(p) == name)


def test_what_became_of_a_part() -> None:
    def told(place: str, label: int, score: float, reason: str = "") -> str:
        part = Part(Record(Path("x.png"), "test", None, ""), label, place, (score,), (reason,))
        return verdict(part, score, AT, reason)

    assert (told("inside", 1, 0.5), told("inside", 1, 0.4)) == ("rightly rejected", "escape")
    assert (told("none", 0, 0.5), told("none", 0, 0.4)) == ("false reject", "rightly passed")
    assert told("outside", 0, 0.5) == "alarm on outside damage"
    assert told("both", 0, 0.4) == "outside damage rightly passed"
    assert {told("inside", 1, 0.4, "no region"), told("none", 0, 0.4, "no region")} == {"not inspectable"}
    assert told("inside", 1, 0.5, "no region") == "rightly rejected"
