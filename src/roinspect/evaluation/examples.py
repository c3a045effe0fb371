"""Select example parts for a report, and load their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from roinspect.data.dataset import load_sample
from roinspect.evaluation.example_images import Example, ExamplePrediction
from roinspect.evaluation.parts import Part
from roinspect.evaluation.scoring import EvaluatedModel
from roinspect.images.pixels import resize_image
from roinspect.methods.method import InspectionGraph

EXAMPLES = 8
"""Parts shown as images, taken from all outcomes in turn."""

WORST = 4
"""Mistakes of each kind that are always shown."""

VERDICTS = (
    "escape",
    "false reject",
    "alarm on outside damage",
    "not inspectable",
    "rightly rejected",
    "outside damage rightly passed",
    "rightly passed",
)
"""The outcomes for a part, in the report's order."""

MISTAKES = 3
"""How many of `VERDICTS`, from the first, are mistakes."""


def verdict(part: Part, pred_score: float, threshold: float, reason: str) -> str:
    """The outcome for a labelled part, one of `VERDICTS`."""
    is_rejected = pred_score >= threshold
    if not is_rejected and reason:
        return "not inspectable"
    if part.label == 1:
        return "rightly rejected" if is_rejected else "escape"
    if part.is_outside_only:
        return "alarm on outside damage" if is_rejected else "outside damage rightly passed"
    return "false reject" if is_rejected else "rightly passed"


def choose(parts: Sequence[Part], thresholds: Sequence[float]) -> list[Part]:
    """Select the parts to show, by the first model's outcome.

    These are `EXAMPLES` parts, the worst of each outcome in turn, and the `WORST` worst of each kind of
    mistake. What was rightly rejected comes first, as it shows what the model looks at; then the mistakes.
    With two models, parts on which they disagree come first.

    Args:
        parts: labelled and scored.
        thresholds: one per model.
    """
    groups: dict[str, list[Part]] = {name: [] for name in VERDICTS}
    for part in parts:
        groups[verdict(part, part.pred_scores[0], thresholds[0], part.reasons[0])].append(part)

    def rank(part: Part) -> tuple[bool, float]:
        rejected = {score >= at for score, at in zip(part.pred_scores, thresholds, strict=True)}
        # The worst escape has the lowest score; for all other outcomes the highest is the worst.
        is_escape = verdict(part, part.pred_scores[0], thresholds[0], part.reasons[0]) == "escape"
        return len(rejected) == 1, part.pred_scores[0] if is_escape else -part.pred_scores[0]

    turns = zip_longest(*(sorted(group, key=rank) for group in groups.values()))
    ranked = [
        (kind, place, part)
        for place, turn in enumerate(turns)
        for kind, part in enumerate(turn)
        if part is not None
    ]
    chosen = [
        (kind, part)
        for row, (kind, place, part) in enumerate(ranked)
        if row < EXAMPLES or (kind < MISTAKES and place < WORST)
    ]
    caught = VERDICTS.index("rightly rejected")
    return [part for _, part in sorted(chosen, key=lambda pair: (pair[0] != caught, pair[0]))]


def load_examples(
    parts: Sequence[Part], models: Sequence[EvaluatedModel], *, min_pixels: int
) -> Iterator[Example]:
    """Load parts again, at full size, with each model's prediction.

    Args:
        parts: labelled, with one score per model.
        models: as evaluated.
        min_pixels: as in `load_sample`.
    """
    for part in parts:
        samples = {
            bits: load_sample(part.record, None, min_pixels=min_pixels, bits=bits)
            for bits in dict.fromkeys(model.bundle.bits for model in models)
        }
        sample = next(iter(samples.values()))
        yield Example(
            caption=part.record.key,
            image=sample.image,
            roi_mask=sample.roi_mask,
            gt_mask=None if part.place == "unknown" else sample.gt_mask,
            predictions=[
                _prediction(part, score, reason, samples[model.bundle.bits].image, model)
                for score, reason, model in zip(part.pred_scores, part.reasons, models, strict=True)
            ],
        )


def _prediction(
    part: Part,
    pred_score: float,
    reason: str,
    image: NDArray[np.uint8],
    model: EvaluatedModel,
) -> ExamplePrediction:
    bundle = model.bundle
    resized = resize_image(image, bundle.size_hw)
    anomaly_map = model.looks([image], [resized])[0].anomaly_map
    return ExamplePrediction(
        anomaly_map=anomaly_map,
        level=bundle.map_level(pred_score, anomaly_map),
        pred_score=pred_score,
        verdict=verdict(part, pred_score, bundle.threshold.value, reason),
        # Tiles are repaired one by one: there is no picture of the whole.
        reconstruction=None if bundle.tiles else _repaired(model.graph, resized),
    )


def _repaired(graph: InspectionGraph, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The graph's reconstruction (H, W, 3) uint8; None for methods without one."""
    device = next(graph.parameters()).device
    with torch.inference_mode():
        repaired = graph.reconstruct(
            torch.from_numpy(image)[None].to(device).permute(0, 3, 1, 2).float() / 255
        )
    if repaired is None:
        return None
    pixels = repaired[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.asarray(pixels, np.uint8)
