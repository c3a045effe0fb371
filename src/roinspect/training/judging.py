"""Choose the threshold of a trained method, and say what is odd about its photographs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import DecodedCache
from roinspect.data.likeness import warning_of
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut
from roinspect.methods.method import Method
from roinspect.training.learning import Preparation
from roinspect.training.suspects import nothing_varies, suspects, with_suspects

log = logging.getLogger(__name__)


def takes_left_out(ready: Preparation[Method]) -> bool:
    """Whether training photographs, left out in turn, also set the threshold: not beside a val split."""
    return ready.training.threshold == "false-reject" and not any(
        record.split == "val" for record in ready.held_out
    )


def judged(
    judge: Callable[..., tuple[Threshold, Mapping[str, Any]]],
    ready: Preparation[Method],
    scores: NDArray[np.float32],
    fitted: DecodedCache,
    held_out: DecodedCache,
    left_out: LeftOut | None,
) -> tuple[Threshold, Mapping[str, Any]]:
    """The threshold and measures for the bundle; warnings are logged.

    Args:
        judge: see `Method.judge`.
        ready: the photographs and the training settings.
        scores: (N,) of the held-out photographs.
        fitted: training photographs, decoded.
        held_out: held-out photographs, decoded.
        left_out: scores of training photographs, see `Method.left_out_scores`.
    """
    training = ready.training
    rate = training.false_reject if training.threshold == "false-reject" else None
    groups, fitted_groups = ([record.group for record in some] for some in (ready.held_out, ready.fitted))
    threshold, metrics = judge(scores, held_out, groups, rate, left_out)
    uniform = nothing_varies(fitted)
    if uniform:
        threshold = dataclasses.replace(
            threshold, warning="; ".join(filter(None, (uniform, threshold.warning)))
        )
    elif rate is not None:
        found = suspects(scores, held_out, groups, fitted, fitted_groups, left_out, rate)
        threshold, metrics = with_suspects(threshold, metrics, found)
    good_parts = [
        (record, taken)
        for decoded in (fitted, held_out)
        for record, taken in zip(decoded.records, decoded.taken, strict=True)
        if record.label == 0
    ]
    undeclared = warning_of([record for record, _ in good_parts], [taken for _, taken in good_parts])
    for warning in (threshold.warning, undeclared):
        if warning:
            log.warning(warning)
    return threshold, metrics
