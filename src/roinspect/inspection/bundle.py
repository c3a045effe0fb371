"""The bundle, the folder of a trained model: weights, settings, threshold, metrics, fingerprints. No pickle.

    BUNDLE/
      bundle.json          everything but the weights, and the other files' checksums
      weights.safetensors  tensors of the inspection graph
      trained_on.txt       a digest of each training photograph, one per line
      held_out.txt         the same of the photographs that training held out
      references.zip       some held-out photographs, for the self-test

A bundle is written completely or not at all, and rejected if a byte of it has changed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from roinspect.audit.recording import recorded, require_log
from roinspect.errors import UserError
from roinspect.files import read_regular, sha256, sha256_of, whole_file, whole_folder, writing
from roinspect.images.pixels import BITS, MOST_SIDE
from roinspect.inspection.drift import Usual
from roinspect.inspection.plain import from_plain, parse_object
from roinspect.inspection.references import Reference, packed, unpacked
from roinspect.inspection.regions import hottest_level
from roinspect.inspection.scene import SceneLimits
from roinspect.inspection.tiles import Tiling

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray
    from torch import Tensor


class _Sized(Protocol):
    @property
    def size_hw(self) -> tuple[int, int]: ...
    @property
    def bits(self) -> int: ...


Manifest = TypeVar("Manifest", bound=_Sized)

SCHEMA_VERSION = 1
SEGMENTER = "segmenter"
"""The method in a segmenter's manifest; a segmenter predicts regions of interest and gives no verdicts."""
MANIFEST = "bundle.json"
_WEIGHTS = "weights.safetensors"
_TRAINED_ON, _HELD_OUT = "trained_on.txt", "held_out.txt"
_REFERENCES = "references.zip"
FILES = (MANIFEST, _WEIGHTS, _REFERENCES)
"""What is needed to run the weights, and to test that they run as they should."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score from which a part is rejected, and how it was chosen."""

    value: float
    origin: str
    """In words."""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The manifest of a bundle.

    Attributes:
        method: the method's name, as in `roinspect train NAME`.
        method_settings: all of its settings.
        size_hw: height and width that images are resized to.
        threshold: the rejection threshold.
        training: settings of the training run.
        history: training curves: name to (epoch, value) pairs.
        metrics: measured on held-out parts.
        fingerprints: SHA-256 of the training data, the ROI masks and so on.
        roinspect_version: of the writer.
        map_share: None if the score is the map's maximum, so that regions are found where the map reaches the
            threshold. For methods whose maps have another scale: the share of the map's own maximum, in (0,
            1], from which a pixel of a rejected part belongs to a region.
        scene: limits beyond which an image is not inspectable; None accepts every image.
        bits: significant bits of 16-bit photographs, as in `read_image`.
        tiles: how the method looks closely at a photograph's region; None looks at the whole, at `size_hw`.
        references: held-out photographs in the bundle, with their scores, for the self-test.
        usual: what held-out good parts look like, for the drift of later ones; None of too few.
    """

    method: str
    method_settings: Mapping[str, Any]
    size_hw: tuple[int, int]
    threshold: Threshold
    training: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    roinspect_version: str = ""
    map_share: float | None = None
    scene: SceneLimits | None = None
    bits: int = 16
    tiles: Tiling | None = None
    references: tuple[Reference, ...] = ()
    usual: Usual | None = None

    @property
    def score_says(self) -> str:
        """What a score of this method means on every product; "" where it has no such scale."""
        if self.method != "roibank":
            return ""
        return "a score of 1 is as strange as the strangest place of an ordinary good part"

    def map_level(self, pred_score: float, anomaly_map: NDArray[Any]) -> float | None:
        """The map value from which a pixel of a part belongs to a region.

        Args:
            pred_score: of the part.
            anomaly_map: (H, W), of the part.

        Returns:
            None if the part has no regions: `map_share` is set and the part passes, or its map is empty.
        """
        if self.map_share is None:
            return self.threshold.value
        if pred_score < self.threshold.value:
            return None
        return hottest_level(anomaly_map, self.map_share)


def photograph_digest(path: Path) -> str:
    """The first 64 bits of the file's SHA-256, as 16 hexadecimal digits.

    Raises:
        OSError: the file cannot be read or is not a regular file.
    """
    return shortened(sha256_of(path))


def shortened(digest: str) -> str:
    """The `photograph_digest` of a photograph from its full SHA-256."""
    return digest[:16]


def save_bundle(
    path: Path,
    bundle: DataclassInstance,
    tensors: Mapping[str, Tensor],
    *,
    trained_on: Iterable[str] = (),
    held_out: Iterable[str] = (),
    photographs: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a bundle, completely or not at all.

    Args:
        path: the folder to create.
        bundle: the manifest, a `Bundle` or a segmenter's.
        tensors: the graph's state.
        trained_on: the SHA-256 of each training photograph; shortened as in `photograph_digest`.
        held_out: the same of the photographs that were held out, for the threshold and the curves.
        photographs: the files of the manifest's references, by name.
        overwrite: replace an existing bundle.

    Raises:
        UserError: the folder exists, or cannot be written.
    """
    from safetensors.torch import save

    refuse_existing(path, overwrite=overwrite)
    remedy = "free space or choose another --out, then continue with --resume"
    files = {
        _WEIGHTS: save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}),
        _TRAINED_ON: "".join(f"{digest}\n" for digest in sorted({*map(shortened, trained_on)})).encode(),
        _HELD_OUT: "".join(f"{digest}\n" for digest in sorted({*map(shortened, held_out)})).encode(),
        _REFERENCES: packed(photographs) if photographs else b"",
    }
    files = {name: written for name, written in files.items() if written}
    digests = {f"{name.partition('.')[0]}_sha256": sha256(written) for name, written in files.items()}
    content = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(bundle), **digests}
    content["manifest_sha256"] = _digest(content)
    files[MANIFEST] = _text(content)
    about = {name: content[name] for name in ("method", "fingerprints")}
    facts = {**about, "version": _version(files[MANIFEST]), **digests}
    with (
        writing(path, fault="the bundle cannot be written", remedy=remedy),
        recorded("trained", path, facts),
        whole_folder(path) as partial,
    ):
        for name, written in files.items():
            (partial / name).write_bytes(written)


def replace_threshold(path: Path, threshold: Threshold, *, is_recorded: bool = True) -> None:
    """Replace a bundle's threshold, completely or not at all.

    Args:
        path: the bundle.
        threshold: the new one.
        is_recorded: in the audit log, if there is one; False for a copy that no line uses.

    Raises:
        UserError: see `read_bundle`, or the manifest cannot be written.
    """
    content = _verdict_manifest(path)
    former = {"former_threshold": content["threshold"], "former_version": bundle_version(path)}
    content["threshold"] = dataclasses.asdict(threshold)
    content["manifest_sha256"] = _digest(content)
    written = _text(content)
    facts = {"threshold": content["threshold"], "version": _version(written), **former}
    remedy = "free space, or make the bundle writable; the former threshold still holds"
    with (
        writing(path / MANIFEST, fault="the threshold cannot be written", remedy=remedy),
        recorded("calibrated", path, facts) if is_recorded else nullcontext(),
        whole_file(path / MANIFEST) as partial,
    ):
        partial.write_bytes(written)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise a UserError if `path` exists and must not be overwritten, or is not a bundle.

    Also if the audit log, without which no bundle is written, cannot be used.
    """
    require_log()
    if not path.exists():
        return
    if not overwrite:
        raise UserError("already exists", where=path, remedy="choose another --out or pass --overwrite")
    if not is_bundle(path):
        raise UserError("is not a bundle and is not overwritten", where=path, remedy="choose another --out")


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle's manifest; the weights stay on disk.

    Raises:
        UserError: the bundle is missing, has another schema version, was changed since it was written, or is
            a segmenter's, which gives no verdicts.
    """
    return manifest_of(Bundle, _verdict_manifest(path), path)


def is_bundle(path: Path) -> bool:
    """Whether a folder has a bundle's manifest."""
    return (path / MANIFEST).is_file()


def bundle_version(path: Path) -> str:
    """12 hexadecimal digits that identify a state of the bundle, including its threshold."""
    return _version(read_regular(path / MANIFEST))


def _version(manifest: bytes) -> str:
    return sha256(manifest)[:12]


def check_files(path: Path) -> None:
    """Compare a bundle's files, apart from exports, with the manifest's checksums; needs no torch.

    Raises:
        UserError: see `read_bundle`.
    """
    content = _verdict_manifest(path)
    _read_checked(path / _WEIGHTS, content.get("weights_sha256", ""))
    for file, key in (
        (_TRAINED_ON, "trained_on_sha256"),
        (_HELD_OUT, "held_out_sha256"),
        (_REFERENCES, "references_sha256"),
    ):
        if key in content:
            _read_checked(path / file, content[key])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read and check a bundle's tensors.

    Raises:
        UserError: see `read_bundle`.
    """
    from safetensors.torch import load

    return load(_read_checked(path / _WEIGHTS, read_manifest(path)["weights_sha256"]))


def read_trained_on(path: Path) -> frozenset[str]:
    """The `photograph_digest` of each training photograph; empty if the bundle does not have them.

    Raises:
        UserError: see `read_bundle`.
    """
    return _read_digests(path, _TRAINED_ON, "trained_on_sha256")


def read_held_out(path: Path) -> frozenset[str]:
    """The same of the photographs that training held out; empty in bundles of earlier versions."""
    return _read_digests(path, _HELD_OUT, "held_out_sha256")


def _read_digests(path: Path, file: str, key: str) -> frozenset[str]:
    expected = read_manifest(path).get(key)
    if expected is None:
        return frozenset()
    return frozenset(_read_checked(path / file, expected).decode().split())


def read_references(path: Path, references: Sequence[Reference]) -> list[bytes]:
    """The files of a manifest's reference photographs, in their order.

    Raises:
        UserError: see `read_bundle`.
    """
    if not references:
        return []
    file = path / _REFERENCES
    try:
        return unpacked(_read_checked(file, read_manifest(path).get("references_sha256", "")), references)
    except ValueError:
        raise _damaged(file) from None


def _verdict_manifest(path: Path) -> dict[str, Any]:
    content = read_manifest(path)
    if content["method"] == SEGMENTER:
        raise UserError(
            "is a segmenter: it finds regions of interest, no defects",
            where=path,
            remedy=f"use: roinspect roi predict {path} DATA --out ROI_FOLDER, or --roi segmenter:{path}",
        )
    return content


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of any bundle, including a segmenter's, as plain values.

    Raises:
        UserError: the bundle is missing, has another schema version, or was changed since it was written.
    """
    file = path / MANIFEST
    written = _read(file)
    try:
        content = parse_object(written)
        version = content["schema_version"]
    except (ValueError, KeyError):
        raise _damaged(file) from None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"has bundle schema version {version}, this roinspect reads {SCHEMA_VERSION}",
            where=file,
            remedy="use the roinspect that wrote it, or train again",
        )
    # Compared byte for byte: even changed white space counts.
    is_as_written = written == _text(content)
    if content.pop("manifest_sha256", None) != _digest(content) or not is_as_written:
        raise _damaged(file)
    if not isinstance(content.get("method"), str):
        raise _damaged(file)
    return content


def manifest_of(cls: type[Manifest], content: Mapping[str, Any], path: Path) -> Manifest:
    """A bundle's manifest as a dataclass: a `Bundle` or a segmenter's.

    Args:
        cls: the dataclass.
        content: result of `read_manifest`.
        path: of the bundle.

    Raises:
        UserError: a value is missing, or of a type or in a range that no training writes.
    """
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    try:
        manifest = from_plain(cls, {name: content[name] for name in names if name in content})
        if not all(1 <= side <= MOST_SIDE for side in manifest.size_hw):
            raise ValueError(f"size_hw must be in [1, {MOST_SIDE}]")
        if manifest.bits not in BITS:
            raise ValueError(f"bits must be one of {', '.join(map(str, BITS))}")
        share = manifest.map_share if isinstance(manifest, Bundle) else None
        if share is not None and not 0 < share <= 1:
            raise ValueError("map_share must be in (0, 1]")
    except (ValueError, UserError) as error:
        raise UserError(
            f"its values are not valid ({error})",
            where=path / MANIFEST,
            remedy="copy the bundle again, or train again",
        ) from None
    return manifest


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(_text(content))


def _read(file: Path) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})",
            where=file,
            remedy="name the folder that training wrote as --out",
        ) from None


def _read_checked(file: Path, expected: str) -> bytes:
    content = _read(file)
    if sha256(content) != expected:
        raise _damaged(file)
    return content


def _damaged(file: Path) -> UserError:
    return UserError(
        "was changed or damaged since training wrote it",
        where=file,
        remedy="copy the bundle again, or train again",
    )
