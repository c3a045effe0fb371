"""The losses that steer a CEOD classifier's explanation, by the setting `loss`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.data.loader import Batch
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.nn.backbone import Backbone
from roinspect.nn.background import background_relevance
from roinspect.nn.ceod import CeodTerms, ceod_terms, steered_terms
from roinspect.nn.classifier import DEFECT, Classifier, Evidence
from roinspect.nn.evidence import evidence_distance
from roinspect.nn.gradcam import grad_cam
from roinspect.nn.relevance import relevance
from roinspect.nn.right_reasons import right_reasons
from roinspect.nn.slack import slack_distance


def explained_input(
    settings: CeodSettings, classifier: Classifier, seen: Tensor, *, is_frozen: bool
) -> tuple[Evidence, Tensor]:
    """The evidence, and what "rrr" or "isnet" explain it by: the input, or the relevance of the input.

    The input is that of what is trained: the image, or the features of a frozen trunk. It is standardised, as
    the scales of features differ, and relevance is relative to 0.

    Args:
        settings: of the classifier.
        classifier: with the trunk.
        seen: images (N, 3, H, W) in [0, 1]; with a frozen trunk its features (N, C, h, w).
        is_frozen: whether no part of the trunk is trained.
    """
    shift: Tensor | float = 0.0
    scale: Tensor | float = 1.0
    if is_frozen:
        shift, scale = classifier.shift, classifier.scale
    elif isinstance(classifier.trunk, Backbone):
        shift, scale = classifier.trunk.mean, classifier.trunk.std
    inputs = ((seen - shift) / scale).detach()

    def network(inputs: Tensor) -> Evidence:
        unscaled = inputs * scale + shift
        return classifier.head(unscaled) if is_frozen else classifier(unscaled)

    if settings.loss == "rrr":
        inputs.requires_grad_()
        return network(inputs), inputs
    return relevance(network, inputs, lambda evidence: classifier.defect_logit(evidence.logits))


def steered(
    settings: CeodSettings,
    classifier: Classifier,
    evidence: Evidence,
    batch: Batch,
    explained: Tensor | None,
    class_weight: Tensor,
) -> CeodTerms:
    """Cross-entropy plus the loss on the explanation, and its terms.

    Args:
        settings: of the classifier.
        classifier: whose evidence it is.
        evidence: of the batch.
        batch: with float masks.
        explained: for "rrr" and "isnet" the second result of `explained_input`.
        class_weight: (2,), of the cross-entropy.

    Raises:
        ValueError: the loss explains the input, and `explained` is missing.
    """
    s, logits, label = settings, evidence.logits, batch.label
    grid_hw = (evidence.features.shape[2], evidence.features.shape[3])
    heat = _heatmap(s, classifier, evidence)
    if s.loss in ("ceod", "energy") or s.omega == 0:
        area = _target(s, batch, grid_hw if s.resolution == "grid" else None)
        return ceod_terms(logits, label, heat, area, s.omega, weight=class_weight, **s.overlap)
    if s.loss == "evidence":
        cells = classifier.cell_evidence(evidence.features)
        penalty = evidence_distance(cells, _target(s, batch, grid_hw), soften=s.soften, reach=s.reach)
    elif s.loss == "res":
        penalty = slack_distance(heat, _target(s, batch, grid_hw))
    elif explained is None:
        raise ValueError(f"loss {s.loss} needs what `explained_input` returns")
    else:
        is_image = explained.shape[2:] == batch.image.shape[2:]
        area = _target(s, batch, None if is_image else grid_hw)
        if s.loss == "rrr":
            penalty = right_reasons(logits, explained, area)
        else:
            penalty = background_relevance(explained, area)
    empty = (heat.detach().amax((1, 2, 3)) <= 0).float().mean()
    # Relevance and gradients outside count with either sign, so they say nothing about defects inside.
    options: dict[str, Any] = {"gate": s.gate, "has_direction": s.loss in ("evidence", "res")}
    return steered_terms(logits, label, penalty, s.omega, weight=class_weight, empty=empty, **options)


def _heatmap(settings: CeodSettings, classifier: Classifier, evidence: Evidence) -> Tensor:
    s = settings
    if s.cam == "closed" or not torch.is_grad_enabled() or s.omega == 0:
        return classifier.heatmap(evidence.features, detach_weights=s.detach_weights)
    return grad_cam(
        evidence.features,
        evidence.logits,
        DEFECT,
        against=classifier.against,
        create_graph=True,
        detach_weights=s.detach_weights,
    )


def _target(settings: CeodSettings, batch: Batch, grid_hw: tuple[int, int] | None) -> Tensor:
    """Where the heat should lie: the ROI, or the drawn defect inside it if there is one.

    (N, 1, h, w) on this grid; (N, 1, H, W) in pixels if it is None.
    """
    roi_mask = batch.roi_mask
    if grid_hw is not None:
        roi_mask = F.adaptive_avg_pool2d(roi_mask, grid_hw)
    if settings.area == "roi":
        return roi_mask
    defect = batch.gt_mask * batch.roi_mask
    if grid_hw is not None:
        # The maximum, so that a pit of a few pixels does not vanish in the average of its cell.
        defect = F.adaptive_max_pool2d(defect, grid_hw)
    # A part whose defect is too small to count is good, so its defect is no target.
    is_defective = (batch.label == DEFECT).view(-1, 1, 1, 1)
    is_drawn = is_defective & (defect.amax((1, 2, 3), keepdim=True) > 0)
    return torch.where(is_drawn, defect, roi_mask)
