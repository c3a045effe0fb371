"""Train a segmenter on photographs with drawn regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from roinspect.data.reading import read_data
from roinspect.data.splits import hold_out
from roinspect.errors import UserError
from roinspect.inspection.bundle import refuse_existing
from roinspect.segmenter.roi import with_drawn_roi
from roinspect.segmenter.segmenter import Segmenter, SegmenterGraph
from roinspect.segmenter.segmenter_bundle import SegmenterBundle
from roinspect.segmenter.settings import SegmenterSettings
from roinspect.training.learning import Trained, learn, prepare_learner
from roinspect.training.processes import joined
from roinspect.training.settings import TrainingSettings


def train_segmenter(
    data: Path | str,
    out: Path | str,
    *,
    settings: SegmenterSettings | None = None,
    training: TrainingSettings | None = None,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> SegmenterBundle:
    """Train a segmenter on the photographs with an ROI mask; labels are ignored.

    Args:
        data: a folder or a manifest, see `read_records`.
        out: the bundle to write; the run's folder is ``OUT.run``.
        settings: of the segmenter; None for the default preset.
        training: training settings, except those of the threshold; None for `TrainingSettings()`.
        roi: source of the drawn ROI masks, see `find_roi`.
        columns: the manifest's column names.
        good: folder names or labels of good parts.
        resume: continue from the last checkpoint of a run with the same settings.
        overwrite: replace an existing bundle.

    Returns:
        The bundle's manifest.

    Raises:
        UserError: the data or a setting is invalid, or a file cannot be written.
    """
    out, settings = Path(out), settings or SegmenterSettings()
    training = training or TrainingSettings()
    if training.tile is not None:
        raise UserError(
            "is for methods that look for defects: a segmenter looks at whole photographs", where="--tile"
        )
    with joined(training.accelerator, training.devices, training.strategy) as processes:
        processes.first(lambda: refuse_existing(out, overwrite=overwrite))
        source = read_data(data, roi, columns, good)
        records = with_drawn_roi(source, source.not_test())
        fitted, held_out = hold_out(records, "all", training.held_out, training.seed, source.path)
        ready = prepare_learner(Segmenter, fitted, held_out, source, settings, training, processes=processes)

        def finish(trained: Trained) -> tuple[SegmenterBundle, SegmenterGraph, dict[str, bytes]]:
            graph = ready.model.graph.eval()
            least, metrics = ready.model.judge(trained.held_out)
            return SegmenterBundle(least_confidence=least, metrics=metrics, **trained.about), graph, {}

        return learn(ready, source, out, finish, resume=resume, overwrite=overwrite)
