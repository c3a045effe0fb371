"""Masks stored in annotation files: match drawings to images and rasterise them."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations import ANNOTATION_SUFFIXES, read_file, read_files_below
from roinspect.data.annotations.polygons import ImageShapes, Painted, chosen, fits, rasterise
from roinspect.data.names import SPLITS
from roinspect.data.paths import Listing, kind
from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES, read_mask

_MOST_SCALED = 1 << 26
_NEAR = 8
"""Maximum number of folders above a file that may be a split folder."""
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask in an annotation file, which is read when its pixels are needed and then cached.

    Attributes:
        path: the file.
        image: the image's name in the file; None if the file annotates a single image.
        labels: labels to include; None takes all.
    """

    path: Path
    image: str | None = None
    labels: frozenset[str] | None = None

    def __str__(self) -> str:
        return str(self.path) if self.image is None else f"{self.path} ({self.image})"

    def drawing(self) -> ImageShapes:
        """The drawing on the image.

        Raises:
            UserError: the file cannot be read, lacks the image, or has several where one is expected.
        """
        drawings = read_file(self.path).images
        if self.image is None:
            if len(drawings) != 1:
                raise UserError(
                    f"annotates {len(drawings)} images where one is expected",
                    where=self.path,
                    remedy="give a file of this image alone",
                )
            return drawings[0]
        for drawing in drawings:
            if drawing.name == self.image:
                return drawing
        raise UserError(f"no longer annotates {self.image}", where=self.path, remedy="start over")

    def pixels(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask of an image of a given size: (H, W), uint8 in {0, 1}.

        Raises:
            UserError: same as `drawing`, or the annotated image had a different aspect ratio.
        """
        drawing = self.drawing()
        height, width = drawing.size_hw or size_hw
        has_paint = any(isinstance(shape, Painted) for shape in drawing.shapes)
        if has_paint and (height, width) != size_hw and height * width > _MOST_SCALED:
            raise UserError(
                f"is painted on {height}x{width} pixels, too many to be scaled to {size_hw[0]}x{size_hw[1]}",
                where=self,
                remedy="draw it at the image's size",
            )
        try:
            return rasterise(drawing, size_hw, self.labels)
        except ValueError:
            if fits((width, height), size_hw):
                raise UserError(
                    f"was drawn on {height}x{width} pixels (height x width), the transposed size of the "
                    f"image's {size_hw[0]}x{size_hw[1]}: the file tells the size before EXIF turns it",
                    where=self,
                    remedy="save the photograph upright and export again, or swap height and width",
                ) from None
            raise UserError(
                f"was drawn on {height}x{width} pixels (height x width), which is of another aspect than the "
                f"image's {size_hw[0]}x{size_hw[1]}",
                where=self,
                remedy="draw it on an image of this kind",
            ) from None

    def content(self) -> bytes:
        """Bytes that determine the mask, for fingerprints: size and shapes, not the rest of the file.

        Raises:
            UserError: same as `drawing`.
        """
        drawing = self.drawing()
        return repr((drawing.size_hw, chosen(drawing, self.labels))).encode()


@dataclass(frozen=True, slots=True)
class MaskPieces:
    """A mask stored in several files, one per defect; the mask is their union.

    Attributes:
        files: mask files of equal size.
    """

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return str(self.files[0].parent)

    def pixels(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask of an image of a given size: (H, W), uint8 in {0, 1}.

        Raises:
            UserError: a file cannot be read or has a different size.
        """
        united = np.zeros(size_hw, np.uint8)
        for file in self.files:
            piece = read_mask(file)
            if piece.shape != size_hw:
                raise UserError(
                    f"is {piece.shape[0]}x{piece.shape[1]} pixels (height x width) but its image is "
                    f"{size_hw[0]}x{size_hw[1]}",
                    where=file,
                    remedy="make the mask at the image's size",
                )
            united |= piece
        return united

    def content(self) -> bytes:
        """Bytes that determine the mask, for fingerprints."""
        return b"".join(file.read_bytes() for file in self.files)


MaskSource: TypeAlias = Path | DrawnMask | MaskPieces
Keys: TypeAlias = Callable[[], Collection[str]]


def read_source(source: MaskSource, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a mask: a file at its own size, a drawing at its image's size.

    Args:
        source: a mask file, the pieces of a mask, or a drawing.
        size_hw: height and width of the image.

    Returns:
        (H, W), uint8 in {0, 1}; a mask file keeps its own size.

    Raises:
        UserError: it cannot be read, or was drawn on an image with a different aspect ratio.
    """
    return read_mask(source) if isinstance(source, Path) else source.pixels(size_hw)


def files_of(source: MaskSource) -> tuple[Path, ...]:
    """The files that hold a mask."""
    if isinstance(source, MaskPieces):
        return source.files
    return (source,) if isinstance(source, Path) else (source.path,)


def split_labels(text: str) -> tuple[str, frozenset[str] | None]:
    """Split PATH#LABEL or PATH#LABEL,LABEL into path and labels; labels are None if there are none.

    A label with a comma needs double quotes. If the whole text is the name of a file, nothing is split.

    Example:
        >>> split_labels("polygons.json#teeth")
        ('polygons.json', frozenset({'teeth'}))
        >>> split_labels('polygons.json#"scratch, deep"')
        ('polygons.json', frozenset({'scratch, deep'}))
    """
    path, hash_mark, labels = text.rpartition("#")
    if not hash_mark or not path or kind(text) != "none":
        return text, None
    label_row = next(csv.reader([labels], skipinitialspace=True), [""])
    return path, frozenset(label.strip() for label in label_row)


def is_annotation(path: Path) -> bool:
    """Whether a file has the suffix of an annotation format."""
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def drawn_in_file(
    path: Path, labels: frozenset[str] | None, keys: Collection[str], all_keys: Keys, *, empty: bool
) -> dict[str, DrawnMask]:
    """Assign the drawings in a file to images.

    A file that annotates a single image applies to all images.

    Args:
        path: the annotation file.
        labels: labels to include; None takes all.
        keys: keys of the images.
        all_keys: returns the keys of all images of the data set, to detect ambiguous file names.
        empty: whether an annotated image without shapes gets an empty mask instead of none.

    Returns:
        Mask by key; images without a drawing are left out.

    Raises:
        UserError: the file cannot be read, lacks a label, or contains a name that matches several images.
    """
    parsed = read_file(path)
    refuse_unknown_labels(parsed.labels, labels, path)
    if len(parsed.images) == 1:
        return dict.fromkeys(keys, DrawnMask(path, None, labels))
    names = [drawing.name for drawing in parsed.images if empty or chosen(drawing, labels)]
    matched = match(names, keys, all_keys, where=path)
    return {key: DrawnMask(path, name, labels) for key, name in matched.items()}


def drawn_in_folder(
    folder: Path,
    labels: frozenset[str] | None,
    keys: Collection[str],
    all_keys: Keys,
    listing: Listing | None = None,
) -> dict[str, DrawnMask]:
    """Assign the drawings in the annotation files below a folder to images.

    Like `drawn_in_file`, but an image without shapes gets no mask. `listing` is a listing of the folder, if
    there is one.
    """
    masks: dict[str, DrawnMask] = {}
    seen_labels: set[str] = set()
    for path, parsed in read_files_below(folder, listing):
        seen_labels.update(parsed.labels)
        for drawing in parsed.images:
            if drawing.name in masks:
                raise UserError(
                    f"annotates {drawing.name} as {masks[drawing.name].path} does",
                    where=path,
                    remedy="keep one annotation of each image",
                )
            if chosen(drawing, labels):
                name = drawing.name if len(parsed.images) > 1 else None
                masks[drawing.name] = DrawnMask(path, name, labels)
    if labels is not None:
        refuse_unknown_labels(sorted(seen_labels), labels, folder)
    return {key: masks[name] for key, name in match(masks, keys, all_keys, where=folder).items()}


def match(names: Iterable[str], keys: Collection[str], all_keys: Keys, *, where: object) -> dict[str, str]:
    """Match the image names in an annotation file to image keys.

    A name equal to a key, ignoring image suffixes, matches that image. Otherwise one of the two must end with
    the other, folder by folder, and the match must be unique. Spellings of a split folder are equivalent:
    Train is train, Validation is val.

    A name without a match may be one that a tool has modified: Label Studio prefixes uploads with eight
    hexadecimal digits and a hyphen and drops their folders; other tools cut off the suffix, and the rest may
    itself look like it has one: `a.webp` from `a.webp.jpg`.

    Args:
        names: image names in the file.
        keys: keys of the images to match.
        all_keys: returns the keys of all images of the data set.
        where: the file, for errors.

    Returns:
        Name by key; images without a match are left out.

    Raises:
        UserError: a name matches several images, or an image matches several names.

    Example:
        >>> keys = ["train/a.jpg", "train/b.jpg"]
        >>> match(["a.png", "C/x/train/b.png"], keys, lambda: keys, where="")
        {'train/a.jpg': 'a.png', 'train/b.jpg': 'C/x/train/b.png'}
    """
    names = list(dict.fromkeys(names))
    name_index = _Ends(names, _depth(keys))
    exact: dict[str, str] = {}
    undecided: dict[str, list[str]] = {}
    for key in keys:
        if equal := name_index.same(key):
            exact[key] = _only(equal, key, where)
        elif fitting := name_index.fitting(key):
            undecided[key] = fitting
    # If every name equals its key, no name can match another image.
    is_plain = not undecided and all(key == name for key, name in exact.items())
    everything = [] if is_plain else list(dict.fromkeys((*keys, *all_keys())))
    image_index = _Ends(everything, _depth(everything))
    for name in dict.fromkeys(exact.values()):
        _refuse_several(name, image_index.same(name), where)
    by_ending: dict[str, str] = {}
    for key, fitting in undecided.items():
        # A name that equals the key of another image belongs to that image.
        if candidates := [name for name in fitting if not image_index.same(name)]:
            by_ending[key] = _only(candidates, key, where)
    for name in dict.fromkeys(by_ending.values()):
        _refuse_several(name, image_index.fitting(name), where)
    matched = exact | by_ending
    return matched | _match_made_of(
        set(names) - set(matched.values()), [k for k in keys if k not in matched], all_keys, where
    )


def _match_made_of(
    names: Collection[str], keys: Sequence[str], all_keys: Keys, where: object
) -> dict[str, str]:
    """Like `match`, for the remaining names, which a tool may have derived from an image's name."""
    suspects = {name: originals for name in sorted(names) if (originals := list(_made_of(name)))}
    if not suspects or not keys:
        return {}
    everything = list(dict.fromkeys((*keys, *all_keys())))
    image_index = _Ends(everything, _depth(everything))
    name_of: dict[str, str] = {}
    for name, originals in suspects.items():
        if image_index.fitting(name):
            continue
        for original in originals:
            if image_index.fitting(original):
                if original in name_of:
                    raise UserError(
                        f"{name_of[original]} as well as {name} may mean {original}",
                        where=where,
                        remedy="name the images with their folders, as seen from the data's folder",
                    )
                name_of[original] = name
                break
    return {key: name_of[original] for key, original in match(name_of, keys, all_keys, where=where).items()}


def _made_of(name: str) -> Iterator[str]:
    """Possible original image names for a name modified by a tool."""
    uploaded = _UPLOADED.fullmatch(PurePosixPath(name).name)
    names = [name, uploaded[1]] if uploaded else [name]
    yield from names[1:]
    # Comparison ignores the image suffix, so appending any suffix protects the existing one.
    yield from (
        f"{original}.png" for original in names if PurePosixPath(original).suffix.lower() in IMAGE_SUFFIXES
    )


def _refuse_several(name: str, keys: Sequence[str], where: object) -> None:
    if len(keys) > 1:
        raise UserError(
            f"{name} fits {keys[0]} as well as {keys[1]}",
            where=where,
            remedy="name the images with their folders, as seen from the data's folder",
        )


def _only(names: list[str], key: str, where: object) -> str:
    if len(names) > 1:
        raise UserError(
            f"{key} fits {names[0]} as well as {names[1]}", where=where, remedy="keep one of them"
        )
    return names[0]


class _Ends:
    """Index of paths by their trailing parts, to find matches without scanning all paths.

    Args:
        paths: the paths to index.
        depth: depth of the deepest key; longer endings are not indexed, as names in a file can be arbitrary.
    """

    def __init__(self, paths: Iterable[str], depth: int) -> None:
        self._depth = depth
        self._whole: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._longer: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in paths:
            parts = _parts(path)
            self._whole[parts].append(path)
            for end in self._ends(parts):
                self._longer[end].append(path)

    def same(self, path: str) -> list[str]:
        """Paths equal to `path`, ignoring image suffixes."""
        return self._whole.get(_parts(path), [])

    def fitting(self, path: str) -> list[str]:
        """Paths that end with `path`, or that `path` ends with, folder by folder."""
        parts = _parts(path)
        shorter = [whole for end in self._ends(parts) for whole in self._whole.get(end, ())]
        return [*self._whole.get(parts, ()), *self._longer.get(parts, ()), *shorter]

    def _ends(self, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The endings of a path that are shorter than the path."""
        return (parts[-length:] for length in range(1, min(len(parts), self._depth + 1)))


def _depth(keys: Iterable[str]) -> int:
    return max((len(_parts(key)) for key in keys), default=0)


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    parts = (path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path).parts
    leading, nearest = parts[: -1 - _NEAR], parts[-1 - _NEAR : -1]
    return (*leading, *(SPLITS.get(folder.lower(), folder) for folder in nearest), *parts[-1:])


def refuse_unknown_labels(existing: list[str], labels: frozenset[str] | None, path: Path) -> None:
    """Raise a UserError for a requested label that does not occur."""
    if unknown := sorted((labels or frozenset()) - set(existing)):
        raise UserError(
            f"has no label {unknown[0]!r}",
            where=path,
            remedy=f"it has {', '.join(map(_quoted, existing)) or 'none'}",
        )


def _quoted(label: str) -> str:
    """A label quoted for `split_labels` if necessary, else its Python repr."""
    doubled = label.replace('"', '""')
    return f'"{doubled}"' if "," in label or '"' in label else repr(label)
