"""Settings of CEOD: presets, and one line for each value that cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect.errors import UserError
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.nn.ceod import CeodLoss


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *(
            (name, ("sometimes", "", None))
            for name in (
                "area", "gate", "variant", "denominator", "soften", "clip", "areas", "resolution", "cam",
                "schedule",
            )
        ),
        ("stride", (0, -8, math.inf)),
        ("reach", (0, -1)),
        *(
            (name, (-1, -0.5, math.nan, math.inf))
            for name in (
                "finetune", "block", "roi_head_weight", "omega", "rotation", "light", "feature_memory_gb",
            )
        ),
        ("pooling", (0.0, 1.1, math.nan)),
        ("learning_rate", (0.0, -0.1, 2.0, math.nan)),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_in_one_line(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(UserError) as caught:
            CeodSettings(**{name: value})
        assert caught.value.where == f"method.{name}" and str(value) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"omega": 0}, {"stride": None}, {"pooling": 1.0}, {"finetune": 20}, {"gate": "defects"},
        {"variant": "linear", "areas": "hard", "clip": "hard"}, {"soften": "falloff", "reach": 8},
    ],
)  # fmt: skip
def test_what_the_papers_have_can_be(changes: dict[str, Any]) -> None:
    settings = CeodSettings(**changes)
    # What the method passes on is what the loss takes.
    assert CeodLoss(settings.omega, **settings.overlap).options["gate"] == settings.gate


def test_compact_is_the_default() -> None:
    assert CeodSettings.preset("compact") == CeodSettings()


def test_paper_has_nothing_of_ours() -> None:
    paper = CeodSettings.preset("paper")
    assert paper.area == "roi" and paper.omega == 0.001 and paper.gate == "defects" and paper.variant == "log"
    assert paper.finetune == 20 and paper.stride is None and paper.learning_rate == 0.002
    assert (paper.denominator, paper.soften, paper.areas) == ("min", "clip", "soft")
    ours = (paper.block, paper.coordinates, paper.roi_head, paper.margin)
    assert not any(ours) and paper.pooling == 1
    assert (paper.rotation, paper.light, paper.schedule) == (0, 0, "constant")
