"""`roinspect export`: the inspection graph as a file for the line, which must answer as the trained one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.export.graph import write_onnx, write_openvino, write_torchscript
from roinspect.export.parity import Parity, compare
from roinspect.export.samples import made_up_images, photographs
from roinspect.inspection.backends import has_bfloat16, open_file
from roinspect.inspection.exported import FILES, NAMES, Format, Precision, describe, graph_file, replacing
from roinspect.inspection.tolerance import SCORE_TOLERANCE
from roinspect.methods.method import load_graph, predict


def export(
    bundle: Path,
    to: Format,
    *,
    int8: Path | None = None,
    bf16: Path | None = None,
    images: Sequence[Path] = (),
    columns: Mapping[str, str] | None = None,
    tell: Callable[[str], object] = print,
) -> Path:
    """Write a bundle's graph for another engine, into the bundle, in place of an earlier export.

    The file is kept only where it answers as the trained graph does, see `Parity.is_equal`. In INT8 and in
    bfloat16 scores and maps may differ, but no verdict on a held-out part may.

    Args:
        bundle: the trained bundle.
        to: "onnx", "openvino" or "torchscript".
        int8: data, as `read_records` takes it, that INT8's ranges and held-out parts come from.
        bf16: data whose held-out parts OpenVINO is to judge in bfloat16, which it then does wherever the
            processor has it. With neither, and elsewhere, it is float32.
        images: photographs to compare answers on, beside made-up images.
        columns: the manifest's column names, where `int8` or `bf16` names a manifest.
        tell: is given what came of the comparison, in lines of text.

    Returns:
        The file to open.

    Raises:
        UserError: the bundle or an image cannot be read, a package is missing, the disk refuses, the
            processor has no bfloat16, or the answers differ. Then nothing is left behind, and an earlier
            export stays.
    """
    if to not in FILES:
        raise UserError(f"no such format: {to}", where="--to", remedy=f"choose one of {', '.join(FILES)}")
    if int8 is not None and to == "torchscript":
        raise UserError("is for onnx and openvino", where="--int8", remedy="export to one of these")
    if bf16 is not None:
        _refuse_bfloat16(to, int8)
    precision: Precision = "float32" if int8 is bf16 is None else "int8" if bf16 is None else "bfloat16"
    manifest, graph = load_graph(bundle)
    size_hw, threshold = manifest.size_hw, manifest.threshold.value

    def compared(
        file: Path, samples: Iterable[NDArray[np.uint8]], precision: Precision = "float32"
    ) -> Parity:
        candidate = open_file(file, to, precision=precision)
        return compare(partial(predict, graph), candidate, samples, threshold, manifest.scene)

    with replacing(bundle, to) as folder, tempfile.TemporaryDirectory() as scratch:
        file, source = folder / FILES[to][0], Path(scratch) / "float32.onnx"
        convert = shutil.copyfile if to == "onnx" else write_openvino
        if to == "torchscript":
            write_torchscript(graph, size_hw, file)
        else:
            # INT8 is for convolutions that look at the image, not for distances.
            write_onnx(graph, size_hw, source, as_convolution=to == "openvino" and int8 is None)
            convert(source, file)
        shown = chain(made_up_images(size_hw), photographs(images, manifest))
        _refuse_other_answers(compared(file, shown), bundle / to, tell)
        if data := int8 or bf16:
            from roinspect.export.quantize import calibration_split, quantize

            good, held_out = calibration_split(manifest, data, columns)
            if int8 is not None:
                quantized = source.with_name("int8.onnx")
                quantize(source, photographs((record.image_path for record in good), manifest), quantized)
                convert(quantized, file)
            unseen = photographs((record.image_path for record in held_out), manifest)
            defective = sum(record.label == 1 for record in held_out)
            found = compared(file, unseen, precision)
            _refuse_other_verdicts(found, precision, defective, bundle / to, tell)
        describe(bundle, folder, to, precision, threshold)
    return graph_file(bundle, to)


def _refuse_bfloat16(to: Format, int8: Path | None) -> None:
    where = "--bf16"
    if to != "openvino":
        raise UserError("is for openvino", where=where, remedy="export to it")
    if int8 is not None:
        raise UserError("goes without --int8", where=where, remedy="choose one of them")
    if not has_bfloat16():
        raise UserError(
            "this processor has no bfloat16, so that nothing could be compared",
            where=where,
            remedy="export on one that has it (AVX512-BF16 or AMX), or without --bf16",
        )


def _refuse_other_answers(found: Parity, where: Path, tell: Callable[[str], object]) -> None:
    if not found.is_equal:
        tell(found.table())
        raise UserError(
            "the exported graph does not answer as the trained one, and is not kept",
            where=where,
            remedy="export to another format, and report the table above",
        )
    tell(
        f"Compared on {found.images} images: scores differ by at most {found.score:.1e} of their value, maps "
        f"by {found.map:.1e} of their maximum; no verdict changes.{_close(found)}"
    )


def _refuse_other_verdicts(
    found: Parity, precision: Precision, defective: int, where: Path, tell: Callable[[str], object]
) -> None:
    name = NAMES[precision]
    tell(
        f"{name} on {found.images} held-out photographs, {defective} of them defective: scores differ by "
        f"{found.mean_score:.1%} on average and {found.score:.1%} at most, maps by up to {found.map:.1%}; "
        f"verdicts changed: {found.changed}.{_close(found)}"
    )
    # NaN is no answer, whatever the verdict made of it.
    if found.changed or not np.isfinite(found.score):
        raise UserError(
            f"{name} changes verdicts, and is not kept",
            where=where,
            remedy="export in float32, or calibrate a threshold with more room and try again",
        )


def _close(found: Parity) -> str:
    told = f" {found.close} of them score within {SCORE_TOLERANCE:.0e} of the threshold and are not counted."
    return told if found.close else ""
