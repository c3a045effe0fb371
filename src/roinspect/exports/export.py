"""`roinspect export`: write the inspection graph for another runtime and verify its predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.exports.graph import TrainedGraph, quiet
from roinspect.exports.parity import Parity, compare
from roinspect.exports.samples import photographs, synthetic_images, tiles
from roinspect.inspection.bundle import Bundle, read_references
from roinspect.inspection.exported import CLOSE, NAMES, describe, graph_file, replacing
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.target import Precision, Resources, Target
from roinspect.inspection.tolerance import SCORE_TOLERANCE
from roinspect.methods.loading import load_graphs
from roinspect.methods.method import InspectionGraph, predict


def export(
    bundle: Path | str,
    to: str,
    *,
    int8: Path | None = None,
    bf16: Path | None = None,
    images: Sequence[Path] = (),
    columns: Mapping[str, str] | None = None,
    tell: Callable[[str], object] = print,
) -> Path:
    """Write a bundle's graph for another runtime into the bundle, replacing an earlier export.

    The export is kept only if its predictions match the trained graph's (see `Parity.is_equal`). In INT8 and
    bfloat16 scores and maps may differ, but no verdict on a held-out part may change.

    Args:
        bundle: the trained bundle.
        to: one of `TARGETS`.
        int8: export in INT8, with ranges and held-out parts from these data (as in `read_records`).
        bf16: export in bfloat16 for OpenVINO, checked on the held-out parts of these data; processors without
            bfloat16 run the same file in float32.
        images: photographs to compare predictions on, in addition to synthetic images.
        columns: the manifest's column names if `int8` or `bf16` is a manifest.
        tell: called with the result of the comparison, in lines of text.

    Returns:
        The file to open.

    Raises:
        UserError: the bundle or an image cannot be read, a package is missing, the disk refuses, the
            processor has no bfloat16, or the predictions differ. An earlier export is then unchanged.
    """
    bundle = Path(bundle)
    precision: Precision = "float32" if int8 is bf16 is None else "int8" if bf16 is None else "bfloat16"
    if int8 is not None and bf16 is not None:
        raise UserError("and --int8 are mutually exclusive", where="--bf16", remedy="choose one of them")
    target = _target(to, precision)
    graphs = load_graphs(bundle)
    manifest = graphs.bundle
    # The method's graph, to which the precision applies, comes last.
    stages = [_Stage(graphs.graph, manifest.size_hw, "", partial(photographs, bundle=manifest))]
    if graphs.close is not None:
        assert manifest.tiles is not None
        side = manifest.tiles.side
        stages.append(_Stage(graphs.close, (side, side), CLOSE, partial(tiles, looks=graphs.looks())))
    with replacing(bundle, to) as folder, tempfile.TemporaryDirectory() as scratch:
        for number, stage in enumerate(stages):
            is_last = stage is stages[-1]
            room = Path(scratch) / str(number)
            room.mkdir()
            file = folder / stage.folder / target.files[0]
            file.parent.mkdir(exist_ok=True)
            source = TrainedGraph(stage.graph, stage.size_hw, room, for_int8=is_last and int8 is not None)
            with quiet():
                target.write(source, file)
            samples = chain(synthetic_images(stage.size_hw), stage.samples(images))
            _require_equal(stage.compared(target, file, samples, manifest), bundle / to, tell)
            data = int8 or bf16
            if data is None or not is_last:
                continue
            from roinspect.exports.quantize import calibration_split, quantize

            good, held_out = calibration_split(manifest, data, columns)
            if int8 is not None:
                quantized = room / "int8.onnx"
                ranges = stage.samples(record.image_path for record in good)
                quantize(source.onnx_file(), ranges, quantized, module=stage.graph.in_int8)
                source.quantized = quantized
                target.write(source, file)
            shown = stage.samples(record.image_path for record in held_out)
            defective = sum(record.label == 1 for record in held_out)
            parity = stage.compared(target, file, shown, manifest, precision)
            shown_as = f"{parity.images} tiles of {len(held_out)}" if stage.folder else f"{parity.images}"
            _require_equal_verdicts(parity, precision, shown_as, defective, bundle / to, tell)
        scores = {} if precision == "float32" else _scores(bundle, manifest, target, folder, precision)
        describe(bundle, folder, to, precision, manifest.threshold.value, scores)
    return graph_file(bundle, to)


def _scores(
    path: Path, manifest: Bundle, target: Target, folder: Path, precision: Precision
) -> dict[str, float]:
    """What an export answers here to the bundle's reference photographs, by name."""
    opened = target.load(
        folder / target.files[0], Resources(), precision if manifest.tiles is None else "float32"
    )
    close = (
        None
        if manifest.tiles is None
        else target.load(folder / CLOSE / target.files[0], Resources(), precision)
    )
    verdicts = Inspector(manifest, opened, close=close).inspect_many(
        read_references(path, manifest.references)
    )
    return {
        reference.name: verdict.pred_score
        for reference, verdict in zip(manifest.references, verdicts, strict=True)
        if verdict.error is None
    }


@dataclass(frozen=True, slots=True)
class _Stage:
    """One of a bundle's graphs.

    Attributes:
        graph: in evaluation mode.
        size_hw: height and width of its images.
        folder: where it is written, in the target's folder.
        samples: photographs to images of this size.
    """

    graph: InspectionGraph
    size_hw: tuple[int, int]
    folder: str
    samples: Callable[[Iterable[Path]], Iterator[NDArray[np.uint8]]]

    def compared(
        self,
        target: Target,
        file: Path,
        samples: Iterable[NDArray[np.uint8]],
        bundle: Bundle,
        precision: Precision = "float32",
    ) -> Parity:
        """Its predictions beside those of its export."""
        limits = None if self.folder else bundle.scene
        candidate = target.load(file, Resources(), precision)
        return compare(partial(predict, self.graph), candidate, samples, bundle.threshold.value, limits)


def _target(to: str, precision: Precision) -> Target:
    if to not in TARGETS:
        raise UserError(f"no such target: {to}", where="--to", remedy=f"choose one of {', '.join(TARGETS)}")
    target = TARGETS[to]
    option = "--int8" if precision == "int8" else "--bf16"
    if precision not in target.precisions:
        able = [name for name, other in TARGETS.items() if precision in other.precisions]
        raise UserError(f"is for {' and '.join(able)}", where=option, remedy="export to one of these")
    if precision == "bfloat16" and not target.has_bfloat16():
        raise UserError(
            "this processor has no bfloat16, so verdicts cannot be compared",
            where=option,
            remedy="export on one that has it (AVX512-BF16 or AMX), or without --bf16",
        )
    return target


def _require_equal(parity: Parity, where: Path, tell: Callable[[str], object]) -> None:
    if not parity.is_equal:
        tell(parity.table())
        raise UserError(
            "the exported graph does not predict the same as the trained one, and is not kept",
            where=where,
            remedy="export to another format, and report the table above",
        )
    tell(
        f"Compared on {parity.images} images: scores differ by at most {parity.score:.1e} of their value, "
        f"maps by {parity.map:.1e} of their maximum; no verdict changes.{_close(parity)}"
    )


def _require_equal_verdicts(
    parity: Parity,
    precision: Precision,
    images: str,
    defective: int,
    where: Path,
    tell: Callable[[str], object],
) -> None:
    name = NAMES[precision]
    tell(
        f"{name} on {images} held-out photographs, {defective} of them defective: scores differ by "
        f"{parity.mean_score:.1%} on average and {parity.score:.1%} at most, maps by up to {parity.map:.1%}; "
        f"verdicts changed: {parity.changed}.{_close(parity)}"
    )
    # NaN is never a valid score, even if no verdict changed.
    if parity.changed or not np.isfinite(parity.score):
        raise UserError(
            f"{name} changes verdicts, and is not kept",
            where=where,
            remedy="export in float32, or calibrate a threshold with more margin and try again",
        )


def _close(parity: Parity) -> str:
    remark = (
        f" {parity.close} of them score within {SCORE_TOLERANCE:.0e} of the threshold and are not counted."
    )
    return remark if parity.close else ""
