"""Train for two looks: a network that finds the region in a small photograph, and a method on tiles of it."""

from __future__ import annotations

import dataclasses
import logging
import math
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from roinspect.data.dataset import stream
from roinspect.data.reading import Data
from roinspect.data.tiles import TiledPhotographs, decode_with_tiles
from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle, Threshold, save_bundle
from roinspect.inspection.calibration import LeftOut, by_group
from roinspect.inspection.looks import Looks
from roinspect.inspection.tiles import MOST_TILES, Tiling
from roinspect.methods.method import InspectionGraph, Method, predict
from roinspect.methods.region import STRIDES, RegionGraph, still_region
from roinspect.methods.roibank import RoiBank
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.transformer import patch_side
from roinspect.training.judging import judged, takes_left_out
from roinspect.training.learning import CHECKPOINT, Preparation, prepare_learner, run_folder, teach
from roinspect.training.references import with_references
from roinspect.training.surveying import survey, usual

log = logging.getLogger(__name__)


def train_on_tiles(
    whole: Preparation[Method], data: Data, out: Path, *, resume: bool, overwrite: bool
) -> Bundle:
    """Train both looks and write their bundle; for the arguments and errors see `train`.

    Args:
        whole: the photographs and settings, prepared as if for whole photographs.
        data: where the photographs come from.
        out: the bundle to write.
        resume: continue from the last checkpoints.
        overwrite: replace an existing bundle.
    """
    training, cls = whole.training, type(whole.model)
    side = training.tile
    assert side is not None
    tiles = prepare_learner(
        cls,
        whole.fitted,
        whole.held_out,
        data,
        cls.for_tiles(whole.model.settings),
        dataclasses.replace(training, size=str(side)),
        processes=whole.processes,
        good_only=whole.good_only,
    )
    tiles = dataclasses.replace(
        tiles,
        start_from=whole.start_from,
        loggers=whole.loggers,
        callbacks=whole.callbacks,
        augment=whole.augment,
    )
    run, region_run = run_folder(out), out.with_name(f"{out.name}.region.run")
    with ExitStack() as stack:
        fitted, held_out = (
            stack.enter_context(
                closing(
                    decode_with_tiles(
                        records,
                        whole.model.size_hw,
                        side,
                        training.scale,
                        clean_of_defective=cls.trains_on == "all",
                        min_pixels=training.min_defect_pixels,
                        bits=training.bits,
                    )
                )
            )
            for records in (whole.fitted, whole.held_out)
        )
        for photographs in (fitted, held_out):
            whole.processes.farewell(photographs.close)
        _report(fitted)
        region, finder = _region(whole, data, region_run, fitted, held_out, resume=resume)
        trained = teach(tiles, data, run, fitted.tiles, held_out.tiles, resume=resume)
        if whole.processes.rank:
            return None  # type: ignore[return-value]
        close = tiles.model.inspection_graph().eval()
        groups = [record.group for record in whole.fitted]
        backbone = "" if finder is None else finder.settings.backbone
        sizes = np.array([*fitted.sizes_hw, *held_out.sizes_hw])
        limits, scenes = survey(region, fitted.whole, groups, held_out.whole)
        draft = Bundle(
            method=cls.name,
            threshold=Threshold(math.inf, "none yet"),
            map_share=cls.map_share,
            scene=limits,
            tiles=Tiling(side, training.scale, _pair(sizes.min(0)), _pair(sizes.max(0)), backbone),
            **{**trained.about, "size_hw": whole.model.size_hw},
        )
        draft = dataclasses.replace(
            draft,
            training={
                **draft.training,
                "size": training.size,
                "tiles": len(fitted.tiles),
                "held_out_tiles": len(held_out.tiles),
            },
        )
        scores = _scores(Looks(draft, partial(predict, region), partial(predict, close)), whole, out)
        left_out = None
        if takes_left_out(whole):
            left_out = _left_out(tiles.model, fitted, groups)
        judge = partial(Method.judge, whole.model) if finder is None else finder.judge
        threshold, metrics = judged(judge, whole, scores, fitted.whole, held_out.whole, left_out)
        bundle, references = with_references(
            dataclasses.replace(
                draft, threshold=threshold, metrics=metrics, usual=usual(scores, scenes, held_out.whole)
            ),
            whole.held_out,
            held_out.whole.labels,
            scores,
            training.references,
            whole=partial(predict, region),
            close=partial(predict, close),
        )
        both = nn.ModuleDict({"whole": region, "close": close})
        save_bundle(
            out,
            bundle,
            both.state_dict(),
            trained_on=fitted.whole.digests,
            held_out=held_out.whole.digests,
            photographs=references,
            overwrite=overwrite,
        )
        for folder in (run, region_run):
            (folder / CHECKPOINT).unlink(missing_ok=True)
        return bundle


def _region(
    whole: Preparation[Method],
    data: Data,
    run: Path,
    fitted: TiledPhotographs,
    held_out: TiledPhotographs,
    *,
    resume: bool,
) -> tuple[InspectionGraph, RoiBank | None]:
    """The graph of the coarse look, and the model that was trained for it; None for a still camera."""
    sources = {record.roi_path for record in (*whole.fitted, *whole.held_out)}
    if len(sources) == 1:
        log.info("one region for all photographs: the camera is taken to stand still")
        return still_region(
            torch.from_numpy(fitted.whole.roi_masks[0].copy()), whole.model.size_hw
        ).eval(), None
    settings = whole.model.settings
    # Another method's backbone may have no features of these strides, and a vision transformer has none.
    of_roibank = isinstance(settings, RoiBankSettings) and patch_side(settings.backbone) is None
    finder = RoiBankSettings(
        backbone=settings.backbone if of_roibank else "auto",
        weights=settings.weights if of_roibank or getattr(settings, "weights", "") == "none" else "auto",
        strides=STRIDES,
        # Of the memories nothing is used.
        memory_size=1,
        candidates=1024,
        light=0.0,
        defect_head=False,
        places=False,
        border=0,
    )
    steps = whole.training.steps
    ready = prepare_learner(
        RoiBank,
        whole.fitted,
        whole.held_out,
        data,
        finder,
        dataclasses.replace(
            whole.training,
            tile=None,
            scale=1.0,
            epochs=None,
            steps=None if steps is None else min(steps, RoiBank.default_steps),
            threshold="false-reject",
        ),
        processes=whole.processes,
        good_only=True,
    )
    log.info("training the coarse look, which finds the region")
    teach(ready, data, run, fitted.whole, held_out.whole, resume=resume)
    graph = ready.model.graph.eval()
    assert graph.roi_head is not None
    return RegionGraph(graph.features, graph.roi_head).eval(), ready.model


def _report(fitted: TiledPhotographs) -> None:
    count, unused = len(fitted.tiles), fitted.whole.places.count("unknown")
    log.info(f"{len(fitted.whole):,} photographs give {count:,} tiles to train on")
    if cut_short := int((~fitted.is_complete).sum()):
        log.warning(
            f"the regions of {cut_short} photographs need more than {MOST_TILES} tiles: the rest is not "
            "trained on, and training photographs do not set the threshold; choose a smaller --scale"
        )
    if unused:
        log.warning(
            f"{unused} defective photographs have no mask and are not used: nobody knows which of their "
            "tiles show the defect"
        )


def _scores(looks: Looks, ready: Preparation[Method], out: Path) -> NDArray[np.float32]:
    """Scores of the held-out photographs (N,), as they will be inspected: each is decoded once more."""
    scores, training = list[float](), ready.training
    for batch in stream(ready.held_out, None, 1, min_pixels=training.min_defect_pixels, bits=training.bits):
        for loaded in batch:
            if loaded.sample is None:
                assert loaded.error is not None
                raise loaded.error
            scores += [looked.pred_score for looked in looks([loaded.sample.image])]
    found = np.array(scores, np.float32)
    if not np.isfinite(found).all():
        raise UserError(
            "the trained network's scores are no finite numbers",
            where=out,
            remedy="train again with a lower method.learning_rate",
        )
    return found


def _left_out(model: Method, fitted: TiledPhotographs, groups: list[str]) -> LeftOut | None:
    """Scores of good training photographs, each the highest of its tiles, as if not trained on.

    None also where a photograph has more tiles than were kept, as their highest would be too low.
    """
    if not fitted.is_complete.all():
        return None
    tiles = [record.group for record in fitted.tiles.records]
    found = model.left_out_scores(fitted.tiles, tiles)
    if found is None:
        return None
    highest = np.full(len(fitted.whole), -np.inf, np.float32)
    order = [row for rows in by_group(fitted.tiles.labels, tiles) for row in rows]
    np.maximum.at(highest, fitted.photograph[order], found.scores)
    # Photographs in the order of `by_group`, as for any method.
    rows = [row for some in by_group(fitted.whole.labels, groups) for row in some]
    rows = [row for row in rows if np.isfinite(highest[row])]
    return LeftOut(highest[rows], [groups[row] for row in rows])


def _pair(values: NDArray[Any]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
