"""`roinspect export`: write the inspection graph for another runtime and verify its predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.exports.graph import TrainedGraph, quiet
from roinspect.exports.parity import Parity, compare
from roinspect.exports.samples import photographs, synthetic_images
from roinspect.inspection.exported import NAMES, describe, graph_file, replacing
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.target import Precision, Resources, Target
from roinspect.inspection.tolerance import SCORE_TOLERANCE
from roinspect.methods.loading import load_graph
from roinspect.methods.method import predict


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
    manifest, graph = load_graph(bundle)
    threshold = manifest.threshold.value

    def compared(
        file: Path, samples: Iterable[NDArray[np.uint8]], precision: Precision = "float32"
    ) -> Parity:
        candidate = target.load(file, Resources(), precision)
        return compare(partial(predict, graph), candidate, samples, threshold, manifest.scene)

    with replacing(bundle, to) as folder, tempfile.TemporaryDirectory() as scratch:
        file = folder / target.files[0]
        source = TrainedGraph(graph, manifest.size_hw, Path(scratch), for_int8=int8 is not None)
        with quiet():
            target.write(source, file)
        samples = chain(synthetic_images(manifest.size_hw), photographs(images, manifest))
        _require_equal(compared(file, samples), bundle / to, tell)
        if data := int8 or bf16:
            from roinspect.exports.quantize import calibration_split, quantize

            good, held_out = calibration_split(manifest, data, columns)
            if int8 is not None:
                quantized = Path(scratch) / "int8.onnx"
                ranges = photographs((record.image_path for record in good), manifest)
                quantize(source.onnx_file(), ranges, quantized)
                source.quantized = quantized
                target.write(source, file)
            held_out_images = photographs((record.image_path for record in held_out), manifest)
            defective = sum(record.label == 1 for record in held_out)
            parity = compared(file, held_out_images, precision)
            _require_equal_verdicts(parity, precision, defective, bundle / to, tell)
        describe(bundle, folder, to, precision, threshold)
    return graph_file(bundle, to)


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
    parity: Parity, precision: Precision, defective: int, where: Path, tell: Callable[[str], object]
) -> None:
    name = NAMES[precision]
    tell(
        f"{name} on {parity.images} held-out photographs, {defective} of them defective: scores differ by "
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
