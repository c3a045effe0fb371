"""Change the threshold of a trained bundle, from held-out images or by hand."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import UNKNOWN_LABEL, stream
from roinspect.data.names import SPLITS, is_good
from roinspect.data.paths import Listing
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record
from roinspect.data.splits import refuse_one_kind
from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES
from roinspect.inspection.bundle import (
    Bundle,
    Threshold,
    photograph_digest,
    read_bundle,
    read_trained_on,
)
from roinspect.inspection.calibration import best_f1_threshold, false_reject_threshold
from roinspect.inspection.releases import Swap, change_threshold
from roinspect.segmenter.roi import with_roi
from roinspect.settings import Rate, check

log = logging.getLogger(__name__)

FALSE_REJECT = 0.01


@dataclass(frozen=True, slots=True)
class Way:
    """How to choose the threshold; exactly one attribute is set.

    Attributes:
        false_reject: share of good parts that may be rejected, in [0, 1).
        best_f1: maximise F1 on good and defective parts.
        value: a fixed value.
    """

    false_reject: Annotated[Rate, "write 0.5% or 0.005"] | None = None
    best_f1: bool = False
    value: float | None = None

    def __post_init__(self) -> None:
        """Validate the choice."""
        if [self.false_reject is not None, self.best_f1, self.value is not None].count(True) != 1:
            raise UserError(
                "exclude one another", where="--false-reject, --best-f1 and --threshold", remedy="give one"
            )
        check(self, "--")
        if self.value is not None and not math.isfinite(self.value):
            raise UserError("must be a finite number", where="--threshold")


class Change(NamedTuple):
    """What another threshold changes.

    Attributes:
        former: the previous threshold.
        present: the new one.
        effects: sentences on their effects on the evaluated parts.
        released: the bundle's states by name; None if it has no history of releases.
    """

    former: Threshold
    present: Threshold
    effects: list[str]
    released: Swap | None


class _Scored(NamedTuple):
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: list[str]


def read_rate(text: str) -> float:
    """Parse a share such as "0.5%" or "0.005".

    Raises:
        UserError: the text is neither.

    Example:
        >>> read_rate("0.5%"), read_rate("0.005")
        (0.005, 0.005)
    """
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UserError(f"{text!r} is no rate", where="--false-reject", remedy="write 0.5% or 0.005")
    # Division by 100 rounds correctly; 0.01 * 0.5 may differ from 0.005.
    return number / 100 if text.endswith("%") else number


def recalibrate(
    path: Path,
    data: Path | None,
    way: Way,
    *,
    split: str | None = None,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    batch_size: int = 8,
) -> Change:
    """Choose a new threshold for a bundle and write it to the manifest, see `change_threshold`.

    Photographs of the test split are never used, nor those that the bundle was trained on; the latter are
    recognised by the contents of their files, even if renamed.

    Args:
        path: the bundle.
        data: a folder or a manifest, see `read_records`, or a folder with photographs of good parts alone;
            None if the threshold is set by hand.
        way: how to choose.
        split: "val" or "train". None: if the data contain training photographs of the bundle, all others
            (those held out in training); otherwise the val split, or the train split if there is none.
        roi: source of the ROI masks, see `with_roi`; used for defective parts with a mask.
        columns: the manifest's column names.
        good: folder names or labels of good parts; None for those used in training.
        batch_size: photographs per pass through the network.

    Raises:
        UserError: the bundle or the data cannot be used, or the required parts are missing.
    """
    if split not in (None, "val", "train", "test"):
        raise UserError(f"no such split: {split}", where="--split", remedy="use val or train")
    if split == "test" and data is not None:
        raise UserError(
            "test photographs set no threshold: what is measured on them would flatter the model",
            where="--split test",
            remedy="use val or train",
        )
    if data is None and way.value is None:
        raise UserError("is required", where="DATA", remedy="name held-out photographs, or set --threshold X")
    bundle = read_bundle(path)
    scored = None
    if data is not None:
        trained_on = read_trained_on(path)
        if not trained_on:
            log.warning(
                f"{path}: does not say which photographs it was trained on; see that these are others"
            )
        source = _loose(data) if not way.best_f1 else None
        source = source or read_data(data, roi, columns, good, usual_good=bundle.training.get("good"))
        records = _held_out(source, trained_on, split)
        if way.best_f1:
            records = with_roi(source, records)
        else:
            records = [record for record in records if record.label == 0]
        if not records:
            raise UserError(
                "none of its photographs for calibration is labelled good",
                where=data,
                remedy="add good ones that the model was not trained on",
            )
        scored = _scored(path, bundle, records, data, batch_size)
    present = _chosen(way, scored, data)
    released = change_threshold(path, present)
    if present.warning:
        log.warning(present.warning)
    effects = [] if scored is None else list(_effects(scored, bundle.threshold.value, present.value))
    return Change(bundle.threshold, present, effects, released)


def _loose(folder: Path) -> Data | None:
    """Photographs in a folder without subfolders, as good parts; None for any other data.

    A folder of a data set says by its name and place what it holds: only good parts of no test split are
    taken.
    """
    listing, place = Listing(), folder.resolve()
    if not folder.is_dir() or (folder / "manifest.csv").exists() or listing.folders(folder):
        return None
    paths = [path for path in listing.own_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    splits = {SPLITS.get(place.name.lower()), SPLITS.get(place.parent.name.lower())} - {None}
    is_of_data = splits or any(is_good(beside.name, None) for beside in listing.folders(place.parent))
    if not paths or "test" in splits or (is_of_data and not is_good(place.name, None)):
        return None
    log.info(
        f"{folder}: its {len(paths):,} photographs are in no folder that says what they are, and are taken "
        "as good"
    )
    records = [Record(path, "train", 0, "", key=path.name) for path in paths]
    return Data(folder, records, "none", {}, None, listing)


def _held_out(data: Data, trained_on: Collection[str], split: str | None) -> list[Record]:
    """The labelled photographs of the split that the bundle was not trained on."""
    usable = [r for r in data.not_test() if r.label is not None and split in (None, r.split)]
    unseen = [record for record in usable if _digest(record) not in trained_on]
    if trained := len(usable) - len(unseen):
        log.warning(
            f"{data.path}: {trained} of {len(usable)} photographs are left out: the model was trained on them"
        )
    elif split is None:
        split = "val" if any(record.split == "val" for record in usable) else "train"
    chosen = [record for record in unseen if split in (None, record.split)]
    if not chosen:
        raise UserError(
            f"no labelled photographs{f' in the {split} split' if split else ''} that were not trained on",
            where=data.path,
            remedy="name another --split, or other photographs; `roinspect check` lists what there is",
        )
    return chosen


def _digest(record: Record) -> str:
    try:
        return photograph_digest(record.image_path)
    except OSError:
        # Reported later, with all other unreadable photographs.
        return ""


def _scored(path: Path, bundle: Bundle, records: Sequence[Record], data: Path, batch_size: int) -> _Scored:
    """Scores and effective labels of all readable photographs."""
    from roinspect.methods.loading import load_graphs

    looks = load_graphs(path).looks()
    size_hw = bundle.size_hw if bundle.tiles is None else None
    if size_hw is None:
        # Photographs at their own size, which may fill the memory.
        batch_size = 1
    scores, labels, groups, errors = [np.zeros(0, np.float32)], list[int](), list[str](), list[UserError]()
    min_pixels = int(bundle.training.get("min_defect_pixels", 1))
    for batch in stream(records, size_hw, batch_size, min_pixels=min_pixels, bits=bundle.bits):
        errors += [loaded.error for loaded in batch if loaded.error is not None]
        read = [(loaded.record, loaded.sample) for loaded in batch if loaded.sample is not None]
        labelled = [(record, sample) for record, sample in read if sample.label != UNKNOWN_LABEL]
        if labelled:
            looked = looks([sample.image for _, sample in labelled])
            scores.append(np.array([one.pred_score for one in looked], np.float32))
            labels += [sample.label for _, sample in labelled]
            groups += [record.group for record, _ in labelled]
    if errors:
        message = f"{len(errors)} of {len(records)} photographs could not be read (first: {errors[0]})"
        if not labels:
            raise UserError(message, where=data)
        log.warning(message)
    all_scores = np.concatenate(scores)
    if not np.isfinite(all_scores).all():
        raise UserError("the model answered NaN or infinity", where=path, remedy="train again, in float32")
    return _Scored(all_scores, np.array(labels, np.int64), groups)


def _chosen(way: Way, scored: _Scored | None, data: Path | None) -> Threshold:
    if way.value is not None:
        return Threshold(way.value, "set by hand")
    assert scored is not None and data is not None
    if way.false_reject is not None:
        return false_reject_threshold(scored.scores, way.false_reject, scored.groups)
    refuse_one_kind(scored.labels, data)
    return best_f1_threshold(scored.scores, scored.labels)


def _effects(scored: _Scored, former: float, present: float) -> list[str]:
    sentences = []
    for label, kind in ((0, "good"), (1, "defective")):
        scores = scored.scores[scored.labels == label]
        if len(scores):
            before, now = (int((scores >= value).sum()) for value in (former, present))
            sentences.append(
                f"Of {len(scores)} held-out {kind} parts it rejects {now}; the former one rejected {before}."
            )
    return sentences
