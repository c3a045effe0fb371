"""Exported graphs in a bundle, and whether they still match its weights.

BUNDLE/TARGET/ has the files of a target, such as graph.onnx, and an export.json with their checksums and
their origin. The threshold is only in the manifest, so changing it does not invalidate an export.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roinspect.audit.recording import recorded
from roinspect.errors import UserError
from roinspect.files import read_regular, sha256, sha256_of, whole_folder, writing
from roinspect.inspection.bundle import FILES
from roinspect.inspection.plain import from_plain, parse_object
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.target import Precision

NAMES: Mapping[Precision, str] = {"float32": "float32", "bfloat16": "bfloat16", "int8": "INT8"}
"""Names for messages."""

CLOSE = "close"
"""Folder, in that of a target, of the graph for tiles."""
_NOTE = "export.json"


@dataclass(frozen=True, slots=True)
class Export:
    """The content of an export.json.

    Attributes:
        precision: of the convolutions; bfloat16 only on processors that have it, else float32 from the same
            file.
        threshold: at which its verdicts were compared with those of the trained graph.
        made_from: method, settings, size, bits and the SHA-256 of the weights.
        files: name to SHA-256.
        roinspect_version: of the writer.
        scores: of the bundle's reference photographs by name, where it was made; for reduced precisions.
    """

    precision: Precision
    threshold: float
    made_from: Mapping[str, Any]
    files: Mapping[str, str]
    roinspect_version: str
    scores: Mapping[str, float] = field(default_factory=dict)


def graph_file(bundle: Path, target: str) -> Path:
    """The file to open."""
    return bundle / target / TARGETS[target].files[0]


def close_graph_file(bundle: Path, target: str) -> Path:
    """The file of the graph for tiles, in a bundle that has them."""
    return bundle / target / CLOSE / TARGETS[target].files[0]


def has_export(bundle: Path, target: str) -> bool:
    """Whether there is an export, usable or not."""
    return (bundle / target / _NOTE).is_file()


def read_export(bundle: Path, target: str) -> Export:
    """Read and check an export of a bundle.

    Raises:
        UserError: it is missing, was made from other weights or settings, or a byte of it has changed.
    """
    again = f"run: roinspect export {bundle} --to {target}"
    folder = bundle / target
    if not has_export(bundle, target):
        raise UserError("no such export", where=folder, remedy=again)
    try:
        export = from_plain(Export, parse_object(read_regular(folder / _NOTE)))
        files = _checksums(bundle, folder, target)
    except (OSError, ValueError):
        raise UserError("the export is damaged", where=folder, remedy=again) from None
    if export.made_from != made_from(bundle):
        raise UserError("was exported from other weights or settings", where=folder, remedy=again)
    if export.files != files:
        raise UserError("was changed or damaged since it was exported", where=folder, remedy=again)
    return export


def bundle_files() -> list[Path]:
    """The files that loading a bundle may read, relative to it."""
    folders = [Path(target, part) for target in TARGETS for part in ("", CLOSE)]
    graphs = [folder / name for folder in folders for name in TARGETS[folder.parts[0]].files]
    return [*map(Path, FILES), *(Path(target, _NOTE) for target in TARGETS), *graphs]


def _checksums(bundle: Path, folder: Path, target: str) -> dict[str, str]:
    names = list(TARGETS[target].files)
    if "tiles" in made_from(bundle):
        names += [f"{CLOSE}/{name}" for name in names]
    return {name: sha256_of(folder / name) for name in names}


def made_from(bundle: Path) -> dict[str, Any]:
    """The values of a valid manifest that determine a bundle's predictions, apart from the threshold."""
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    fixed = ("method", "method_settings", "size_hw", "bits", "tiles", "weights_sha256")
    return {name: manifest[name] for name in fixed if manifest.get(name) is not None}


def scores_version(bundle: Path) -> str:
    """12 hexadecimal digits of `made_from`: models with the same give the same scores, at any threshold."""
    return sha256(json.dumps(made_from(bundle), sort_keys=True))[:12]


def describe(
    bundle: Path,
    folder: Path,
    target: str,
    precision: Precision,
    threshold: float,
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write the export.json of a folder with an export's files; for the arguments see `Export`."""
    from roinspect.version import __version__

    files = _checksums(bundle, folder, target)
    export = Export(precision, threshold, made_from(bundle), files, __version__, scores or {})
    (folder / _NOTE).write_text(json.dumps(dataclasses.asdict(export), indent=1), encoding="utf-8")


@contextmanager
def replacing(bundle: Path, target: str) -> Iterator[Path]:
    """A folder to fill and `describe`, which becomes the bundle's export unless the block fails.

    Raises:
        UserError: the disk refuses, or the audit log cannot be written.
    """
    fault, remedy = "the export cannot be written", "free space, or make the bundle writable"
    with (
        writing(bundle / target, fault=fault, remedy=remedy),
        ExitStack() as after,
        whole_folder(bundle / target) as partial,
    ):
        yield partial
        note = parse_object(read_regular(partial / _NOTE))
        facts = {"precision": note["precision"], "files_sha256": note["files"], **note["made_from"]}
        after.enter_context(recorded("exported", bundle / target, facts))
