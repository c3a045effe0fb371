"""Exported graphs in a bundle: where they lie, and whether they still are those of its weights.

    BUNDLE/onnx/         graph.onnx              for ONNX Runtime
    BUNDLE/openvino/     graph.xml, graph.bin    for OpenVINO
    BUNDLE/torchscript/  graph.pt                for torch and LibTorch

Beside each lies an export.json with the checksums of its files and what it was made from. The threshold is
the manifest's alone, so choosing another one makes no export stale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from roinspect.errors import UserError

Format: TypeAlias = Literal["onnx", "openvino", "torchscript"]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
NAMES: Mapping[Precision, str] = {"float32": "float32", "bfloat16": "bfloat16", "int8": "INT8"}
"""As people call them."""

FILES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("graph.onnx",),
    "openvino": ("graph.xml", "graph.bin"),
    "torchscript": ("graph.pt",),
}
"""Files of each format; the first is the one to open."""

_NOTE = "export.json"


@dataclass(frozen=True, slots=True)
class Export:
    """What an export.json says.

    Attributes:
        precision: that the graph's convolutions are computed in; bfloat16 where the processor has it, else
            float32, from the same file.
        threshold: at which its verdicts were compared with those of the trained graph.
        made_from: the method, its settings, the size, the bits and the weights' SHA-256.
        files: name to SHA-256.
        roinspect_version: of the writer.
    """

    precision: Precision
    threshold: float
    made_from: Mapping[str, Any]
    files: Mapping[str, str]
    roinspect_version: str


def graph_file(bundle: Path, form: Format) -> Path:
    """The file to open."""
    return bundle / form / FILES[form][0]


def has_export(bundle: Path, form: Format) -> bool:
    """Whether there is an export, be it usable or not."""
    return (bundle / form / _NOTE).is_file()


def read_export(bundle: Path, form: Format) -> Export:
    """Read and check an export of a bundle.

    Raises:
        UserError: there is none, it was made from other weights or settings, or a byte of it has changed.
    """
    again = f"run: roinspect export {bundle} --to {form}"
    folder = bundle / form
    if not has_export(bundle, form):
        raise UserError("no such export", where=folder, remedy=again)
    try:
        export = Export(**json.loads((folder / _NOTE).read_bytes()))
        files = {name: _sha256(folder / name) for name in FILES[form]}
    except (OSError, ValueError, TypeError):
        raise UserError("the export is damaged", where=folder, remedy=again) from None
    if export.made_from != made_from(bundle):
        raise UserError("was exported from other weights or settings", where=folder, remedy=again)
    if export.files != files:
        raise UserError("was changed or damaged since it was exported", where=folder, remedy=again)
    return export


def made_from(bundle: Path) -> dict[str, Any]:
    """What fixes a bundle's answers but for the threshold; of a manifest that `read_bundle` accepts."""
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    fixed = ("method", "method_settings", "size_hw", "bits", "weights_sha256")
    return {name: manifest[name] for name in fixed}


def describe(bundle: Path, folder: Path, form: Format, precision: Precision, threshold: float) -> None:
    """Write the export.json of a folder that holds an export's files."""
    from roinspect.version import __version__

    files = {name: _sha256(folder / name) for name in FILES[form]}
    export = Export(precision, threshold, made_from(bundle), files, __version__)
    (folder / _NOTE).write_text(json.dumps(dataclasses.asdict(export), indent=1), encoding="utf-8")


@contextmanager
def replacing(bundle: Path, form: Format) -> Iterator[Path]:
    """A folder to fill, which becomes the bundle's export when all went well; else nothing is left.

    Raises:
        UserError: the disk refuses.
    """
    mark, folder = secrets.token_hex(4), bundle / form
    partial, former = (bundle / f".{form}.{mark}.{end}" for end in ("tmp", "old.tmp"))
    try:
        partial.mkdir()
        yield partial
        # A folder cannot take the place of a full one: the former steps aside, and back where that fails.
        if folder.exists():
            os.replace(folder, former)
        os.replace(partial, folder)
    except OSError as error:
        raise UserError(
            f"the export cannot be written ({error.strerror or error})",
            where=folder,
            remedy="free space, or make the bundle writable",
        ) from error
    finally:
        if former.exists() and not folder.exists():
            os.replace(former, folder)
        for rest in (partial, former):
            shutil.rmtree(rest, ignore_errors=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
