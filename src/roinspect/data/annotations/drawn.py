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
"""So many folders above a file may be a split's."""
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask in an annotation file; the file is read when its pixels are needed, and kept for the next one.

    Attributes:
        path: the file.
        image: the image's name in the file; None for the only one there is.
        labels: the labels that count; None takes all.
    """

    path: Path
    image: str | None = None
    labels: frozenset[str] | None = None

    def __str__(self) -> str:
        return str(self.path) if self.image is None else f"{self.path} ({self.image})"

    def drawing(self) -> ImageShapes:
        """What is drawn on the image.

        Raises:
            UserError: the file cannot be read, or has no such image, or has several where one is expected.
        """
        found = read_file(self.path).images
        if self.image is None:
            if len(found) != 1:
                raise UserError(
                    f"annotates {len(found)} images where one is expected",
                    where=self.path,
                    remedy="give a file of this image alone",
                )
            return found[0]
        for drawing in found:
            if drawing.name == self.image:
                return drawing
        raise UserError(f"no longer annotates {self.image}", where=self.path, remedy="start over")

    def pixels(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask of an image of a given size: (H, W), uint8 in {0, 1}.

        Raises:
            UserError: as `drawing`, or the image was of another aspect when it was drawn on.
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
        """What the mask depends on, for fingerprints: size and shapes, not the rest of the file.

        Raises:
            UserError: as `drawing`.
        """
        drawing = self.drawing()
        return repr((drawing.size_hw, chosen(drawing, self.labels))).encode()


@dataclass(frozen=True, slots=True)
class MaskPieces:
    """A mask in several files, one for each defect, which are united.

    Attributes:
        files: mask files of one size.
    """

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return str(self.files[0].parent)

    def pixels(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask of an image of a given size: (H, W), uint8 in {0, 1}.

        Raises:
            UserError: a file cannot be read, or is of another size.
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
        """What the mask depends on, for fingerprints."""
        return b"".join(file.read_bytes() for file in self.files)


MaskSource: TypeAlias = Path | DrawnMask | MaskPieces
Keys: TypeAlias = Callable[[], Collection[str]]


def read_source(source: MaskSource, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask of a source: a mask file as it is, a drawing at its image's size.

    Args:
        source: a mask file, pieces of one, or a drawing.
        size_hw: height and width of the image.

    Returns:
        (H, W), uint8 in {0, 1}; of a file at the file's own size.

    Raises:
        UserError: it cannot be read, or was drawn on an image of another aspect.
    """
    return read_mask(source) if isinstance(source, Path) else source.pixels(size_hw)


def files_of(source: MaskSource) -> tuple[Path, ...]:
    """The files that a mask's pixels come from."""
    if isinstance(source, MaskPieces):
        return source.files
    return (source,) if isinstance(source, Path) else (source.path,)


def split_labels(text: str) -> tuple[str, frozenset[str] | None]:
    """The path and the labels of PATH#LABEL or PATH#LABEL,LABEL; labels are None where there are none.

    A label with a comma stands in double quotes. A file that is called like the whole text is taken for it.

    Example:
        >>> split_labels("polygons.json#teeth")
        ('polygons.json', frozenset({'teeth'}))
        >>> split_labels('polygons.json#"scratch, deep"')
        ('polygons.json', frozenset({'scratch, deep'}))
    """
    path, hash_mark, labels = text.rpartition("#")
    if not hash_mark or not path or kind(text) != "none":
        return text, None
    listed = next(csv.reader([labels], skipinitialspace=True), [""])
    return path, frozenset(label.strip() for label in listed)


def is_annotation(path: Path) -> bool:
    """Whether a file's suffix is one of the annotation formats'."""
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def drawn_in_file(
    path: Path, labels: frozenset[str] | None, keys: Collection[str], every: Keys, *, empty: bool
) -> dict[str, DrawnMask]:
    """Which drawing of a file belongs to which image.

    A file that annotates one image serves all that are asked for.

    Args:
        path: the annotation file.
        labels: the labels that count; None takes all.
        keys: the images' keys.
        every: gives the keys of all images of the data set, so that a file name of several is found out.
        empty: whether an image on which nothing is drawn has a mask, an empty one.

    Returns:
        By key; images without a drawing are left out.

    Raises:
        UserError: the file cannot be read, has none of the labels, or a name in it fits several images.
    """
    found = read_file(path)
    refuse_unknown_labels(found.labels, labels, path)
    if len(found.images) == 1:
        return dict.fromkeys(keys, DrawnMask(path, None, labels))
    names = [drawing.name for drawing in found.images if empty or chosen(drawing, labels)]
    matched = match(names, keys, every, where=path)
    return {key: DrawnMask(path, name, labels) for key, name in matched.items()}


def drawn_in_folder(
    folder: Path,
    labels: frozenset[str] | None,
    keys: Collection[str],
    every: Keys,
    listing: Listing | None = None,
) -> dict[str, DrawnMask]:
    """Which drawing in the annotation files below a folder belongs to which image that it names.

    Args, Returns, Raises: as `drawn_in_file`, with a listing of the folder where there is one; an image on
    which nothing is drawn has no mask.
    """
    masks: dict[str, DrawnMask] = {}
    known: set[str] = set()
    for path, found in read_files_below(folder, listing):
        known.update(found.labels)
        for drawing in found.images:
            if drawing.name in masks:
                raise UserError(
                    f"annotates {drawing.name} as {masks[drawing.name].path} does",
                    where=path,
                    remedy="keep one annotation of each image",
                )
            if chosen(drawing, labels):
                name = drawing.name if len(found.images) > 1 else None
                masks[drawing.name] = DrawnMask(path, name, labels)
    if labels is not None:
        refuse_unknown_labels(sorted(known), labels, folder)
    return {key: masks[name] for key, name in match(masks, keys, every, where=folder).items()}


def match(names: Iterable[str], keys: Collection[str], every: Keys, *, where: object) -> dict[str, str]:
    """Which name in an annotation file means which image.

    A name means the image whose key it is, suffixes of image files aside. Otherwise one of both must end in
    the other, folder by folder, and no other image or name may fit as well. The folders of a split have one
    name, however they are spelt: Train is train, Validation is val.

    A name that fits no image is taken for what a tool made of the image's name: an upload to Label Studio,
    which gets eight hexadecimal digits and a hyphen in front and loses its folders, or a name of which the
    suffix was cut off and whose rest ends like a suffix, as `a.webp` of `a.webp.jpg`.

    Args:
        names: the file's names for its images.
        keys: keys of the images to match.
        every: gives the keys of all images of the data set.
        where: the file, for errors.

    Returns:
        Name by key; images that no name fits are left out.

    Raises:
        UserError: a name fits several images, or an image fits several names.

    Example:
        >>> keys = ["train/a.jpg", "train/b.jpg"]
        >>> match(["a.png", "C/x/train/b.png"], keys, lambda: keys, where="")
        {'train/a.jpg': 'a.png', 'train/b.jpg': 'C/x/train/b.png'}
    """
    names = list(dict.fromkeys(names))
    known = _Ends(names, _depth(keys))
    exact: dict[str, str] = {}
    undecided: dict[str, list[str]] = {}
    for key in keys:
        if same := known.same(key):
            exact[key] = _only(same, key, where)
        elif fitting := known.fitting(key):
            undecided[key] = fitting
    # Where each name is the key itself, none can mean another image as well.
    is_plain = not undecided and all(key == name for key, name in exact.items())
    everything = [] if is_plain else list(dict.fromkeys((*keys, *every())))
    images = _Ends(everything, _depth(everything))
    for name in dict.fromkeys(exact.values()):
        _refuse_several(name, images.same(name), where)
    loose: dict[str, str] = {}
    for key, fitting in undecided.items():
        # A name that is another image's key means that image.
        if free := [name for name in fitting if not images.same(name)]:
            loose[key] = _only(free, key, where)
    for name in dict.fromkeys(loose.values()):
        _refuse_several(name, images.fitting(name), where)
    found = exact | loose
    return found | _match_made_of(
        set(names) - set(found.values()), [k for k in keys if k not in found], every, where
    )


def _match_made_of(names: Collection[str], keys: Sequence[str], every: Keys, where: object) -> dict[str, str]:
    """As `match`, for what is left: names that a tool made of an image's name."""
    suspects = {name: others for name in sorted(names) if (others := list(_made_of(name)))}
    if not suspects or not keys:
        return {}
    everything = list(dict.fromkeys((*keys, *every())))
    images = _Ends(everything, _depth(everything))
    meant: dict[str, str] = {}
    for name, others in suspects.items():
        if images.fitting(name):
            continue
        for other in others:
            if images.fitting(other):
                if other in meant:
                    raise UserError(
                        f"{meant[other]} as well as {name} may mean {other}",
                        where=where,
                        remedy="name the images with their folders, as seen from the data's folder",
                    )
                meant[other] = name
                break
    return {key: meant[other] for key, other in match(meant, keys, every, where=where).items()}


def _made_of(name: str) -> Iterator[str]:
    """What an image may be called of which a tool made a name."""
    uploaded = _UPLOADED.fullmatch(PurePosixPath(name).name)
    names = [name, uploaded[1]] if uploaded else [name]
    yield from names[1:]
    # The suffix that is put there is the one which is cut off where names are compared.
    yield from (f"{other}.png" for other in names if PurePosixPath(other).suffix.lower() in IMAGE_SUFFIXES)


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
    """Paths by their ends, so that those which fit a path are found without a look at every one.

    Args:
        paths: what is looked for.
        depth: of the deepest key. Ends with more parts than that are not kept: a file may name anything.
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
        """Those that are the path, suffixes of image files aside."""
        return self._whole.get(_parts(path), [])

    def fitting(self, path: str) -> list[str]:
        """Those that end in the path, or that the path ends in, folder by folder."""
        parts = _parts(path)
        shorter = [found for end in self._ends(parts) for found in self._whole.get(end, ())]
        return [*self._whole.get(parts, ()), *self._longer.get(parts, ()), *shorter]

    def _ends(self, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The ends of a path that are shorter than the path."""
        return (parts[-length:] for length in range(1, min(len(parts), self._depth + 1)))


def _depth(keys: Iterable[str]) -> int:
    return max((len(_parts(key)) for key in keys), default=0)


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    parts = (path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path).parts
    far, near = parts[: -1 - _NEAR], parts[-1 - _NEAR : -1]
    return (*far, *(SPLITS.get(folder.lower(), folder) for folder in near), *parts[-1:])


def refuse_unknown_labels(known: list[str], labels: frozenset[str] | None, path: Path) -> None:
    """Raise the UserError for a label that nobody drew."""
    if unknown := sorted((labels or frozenset()) - set(known)):
        raise UserError(
            f"has no label {unknown[0]!r}",
            where=path,
            remedy=f"it has {', '.join(map(_quoted, known)) or 'none'}",
        )


def _quoted(label: str) -> str:
    """A label as `split_labels` takes it, where that needs quotes, else as Python writes it."""
    doubled = label.replace('"', '""')
    return f'"{doubled}"' if "," in label or '"' in label else repr(label)
