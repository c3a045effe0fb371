"""Read images sorted into folders, with their defect masks: MVTec AD's layout and its relatives.

SPLIT/CATEGORY/NAME.png            or CATEGORY/NAME.png
ground_truth/CATEGORY/NAME_mask.png   a mask; also in masks/ or mask/, under SPLIT/CATEGORY, or in
                                      SPLIT/ground_truth (MVTec AD 2)
ground_truth/CATEGORY/NAME/000.png    a mask in several pieces (MVTec LOCO, AutoVI)
mask/NAME.png                         if only one defective photograph has this name (anomalib's Folder)
Data/Images/CATEGORY/NAME.JPG         with its mask in Data/Masks/CATEGORY/NAME.png (VisA, see `visa`)
CATEGORY/img/NAME.png                 with its mask in CATEGORY/label (BMAD)
CATEGORY/NAME.jpg                     with its mask beside it: NAME.png (Real-IAD, magnetic tiles), or
                                      NAME_label.bmp, NAME_GT.png (KolektorSDD)
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from roinspect.data.annotations.drawn import DrawnMask, MaskPieces, MaskSource, is_annotation
from roinspect.data.names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    MASKS_BESIDE_IMAGES,
    NO_CATEGORY,
    SPLITS,
    is_good,
    split_of_good,
    stems_of_mask,
)
from roinspect.data.paths import Listing
from roinspect.data.visa import is_visa, read_visa
from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES, read_image, read_mask

_LOSSY = frozenset({".jpg", ".jpeg", ".jfif"})


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph in a folder.

    Attributes:
        path: the file.
        split: "train", "val" or "test".
        label: 0 good, 1 defective.
        category: the folder's name.
        mask: mask of its defects, or None.
    """

    path: Path
    split: str
    label: int
    category: str
    mask: MaskSource | None = None


def read_folders(root: Path, good: Sequence[str] | None, listing: Listing) -> list[Photograph]:
    """Every photograph below a folder.

    If no category is called good and every photograph has a mask in its own folder, as in KolektorSDD, those
    with an empty mask are good.

    Args:
        root: the folder.
        good: names of folders with good parts; None takes `names.GOOD`.
        listing: listing of the folder.

    Raises:
        UserError: photographs lie outside any category, the folder holds several products, a mask matches
            two images or an image two masks, or VisA's split file cannot be read.
    """
    if is_visa(root, listing):
        return [
            Photograph(path, split, int(not is_good(path.parent.name, good)), path.parent.name, mask)
            for path, split, mask in read_visa(root, listing)
        ]
    split_folders = [folder for folder in listing.folders(root) if folder.name.lower() in SPLITS]
    photographs: list[Photograph] = []
    outside: list[Path] = []
    inner: list[tuple[Path, Path]] = []
    for folder in split_folders or [root]:
        split = SPLITS[folder.name.lower()] if split_folders else ""
        categories = [inner for inner in listing.folders(folder) if inner.name.lower() not in NO_CATEGORY]
        for category in categories:
            if any(below.name.lower() in SPLITS for below in listing.folders(category)):
                raise UserError(
                    "holds several products", where=root, remedy=f"point at one, such as {category}"
                )
            is_ok = is_good(category.name, good)
            category_split = split or (split_of_good(category.name) if is_ok else "train")
            images, masks = _apart(category, listing)
            inner += [(category, mask) for mask in masks]
            photographs += [
                Photograph(path, category_split, int(not is_ok), category.name) for path in images
            ]
        if split_folders or not categories:
            files = [path for path in listing.own_files(folder) if _is_image(path)]
            outside += files
            photographs += [Photograph(path, split or "train", 1, "") for path in files]
    photographs = _with_masks_beside(photographs)
    is_masked = bool(photographs) and all(photograph.mask for photograph in photographs)
    if outside and not is_masked:
        _refuse_loose(outside, root, has_splits=bool(split_folders))
    if is_masked and all(photograph.label for photograph in photographs):
        photographs = [_labelled_by_mask(photograph) for photograph in photographs]
    return _with_masks(photographs, root, inner, listing, has_split=bool(split_folders))


def _refuse_loose(outside: Sequence[Path], root: Path, *, has_splits: bool) -> None:
    if has_splits:
        raise UserError(
            f"{len(outside)} photographs lie outside any category",
            where=outside[0],
            remedy=f"move to {outside[0].parent}/good/",
        )
    raise UserError(
        "no photographs found in folders that say what they are",
        where=root,
        remedy="sort them into folders such as good/ and bad/, or train/good/ and test/CATEGORY/",
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _apart(category: Path, listing: Listing) -> tuple[list[Path], list[Path]]:
    """Photographs of a category, and the files in its mask folders."""
    images: list[Path] = []
    masks: list[Path] = []
    # A folder called label/ holds masks if there is an img/ beside it; otherwise it may be a defect category.
    has_images = any(inner.name.lower() in IMAGE_FOLDERS for inner in listing.folders(category))
    names = MASKS_BESIDE_IMAGES if has_images else frozenset(MASK_FOLDERS)
    holds_masks: dict[Path, bool] = {}
    for path in listing.files(category, IMAGE_SUFFIXES):
        folder = path.parent
        if folder not in holds_masks:
            parts = folder.relative_to(category).parts
            holds_masks[folder] = not names.isdisjoint(part.lower() for part in parts)
        (masks if holds_masks[folder] else images).append(path)
    return images, masks


# -- masks in the same folder as their photographs -------------------------------------------------------


def _with_masks_beside(photographs: Sequence[Photograph]) -> list[Photograph]:
    """Attach masks that lie in the same folder as their photographs, and remove them from the photographs."""
    by_stem: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for photograph in photographs:
        by_stem[str(photograph.path.parent), photograph.path.stem].append(photograph.path)
    masks: dict[Path, list[Path]] = defaultdict(list)
    used: set[Path] = set()
    for (folder, stem), files in by_stem.items():
        _, *shorter = stems_of_mask(stem)
        for owner in shorter:
            # Two files with the same stem may themselves be a photograph and its mask.
            owners = by_stem.get((folder, owner), ())
            if len(owners) == 1:
                masks[owners[0]] += files
                used.update(files)
                break
        else:
            if len(files) == 1:
                continue
            lossy = [path for path in files if path.suffix.lower() in _LOSSY]
            lossless = [path for path in files if path not in lossy]
            if len(lossy) == len(lossless) == 1 and _is_two_valued(lossless[0]):
                masks[lossy[0]] += lossless
                used.update(lossless)
    if not used:
        return list(photographs)
    for image, fitting in masks.items():
        if len(fitting) > 1:
            raise UserError(
                f"fits the same image as {fitting[1]} ({image})", where=fitting[0], remedy="keep one of them"
            )
    return [
        replace(photograph, mask=masks[photograph.path][0]) if photograph.path in masks else photograph
        for photograph in photographs
        if photograph.path not in used
    ]


def _is_two_valued(path: Path) -> bool:
    """Whether an image has at most two grey levels, as masks do and photographs do not."""
    try:
        state = path.stat()
        return _looks_like_mask(path, state.st_mtime_ns, state.st_size)
    except OSError:
        return False


@lru_cache(maxsize=1 << 16)
def _looks_like_mask(path: Path, _mtime_ns: int, _size: int) -> bool:
    try:
        pixels = read_image(path)
    except UserError:
        # The error is reported when the image is used.
        return False
    is_grey = bool((pixels[..., :1] == pixels).all())
    return is_grey and int(np.count_nonzero(np.bincount(pixels[..., 0].ravel(), minlength=256))) <= 2


def _labelled_by_mask(image: Photograph) -> Photograph:
    assert isinstance(image.mask, Path)
    try:
        state = image.mask.stat()
        marks = _marks_something(image.mask, state.st_mtime_ns, state.st_size)
    except (OSError, UserError):
        # An unreadable mask is reported when its pixels are needed.
        marks = True
    return replace(image, label=int(marks), category=image.category or ("defective" if marks else "good"))


@lru_cache(maxsize=1 << 16)
def _marks_something(path: Path, _mtime_ns: int, _size: int) -> bool:
    return bool(read_mask(path).any())


# -- masks in separate folders -------------------------------------------------------------------------


class _Masks:
    """Masks by the possible names of their images: paths from the root without suffix."""

    def __init__(
        self, root: Path, inner: Iterable[tuple[Path, Path]], stems: frozenset[str], listing: Listing
    ) -> None:
        self.whole: dict[str, list[MaskSource]] = defaultdict(list)
        self.pieces: dict[str, list[Path]] = defaultdict(list)
        self.flat: dict[str, list[MaskSource]] = defaultdict(list)
        for holder in (root, *(f for f in listing.folders(root) if f.name.lower() in SPLITS)):
            for folder in listing.folders(holder):
                if folder.name.lower() in MASK_FOLDERS:
                    below = "" if holder == root else f"{holder.name}/"
                    for path in listing.files(folder, IMAGE_SUFFIXES | {".json"}):
                        self._add(path, below + path.relative_to(folder).as_posix(), stems)
                        if path.parent == folder:
                            for stem in stems_of_mask(path.stem):
                                self.flat[stem].append(_source(path))
        for category, path in inner:
            folders = [
                part
                for part in path.relative_to(root).parts[:-1]
                if part.lower() not in MASKS_BESIDE_IMAGES or part == category.name
            ]
            self._add(path, PurePosixPath(*folders, path.name).as_posix(), stems)

    def _add(self, path: Path, name: str, stems: frozenset[str]) -> None:
        whole, *shorter = stems_of_mask(PurePosixPath(name).with_suffix("").as_posix())
        self.whole[whole].append(_source(path))
        for stem in shorter:
            # A mask with exactly the name of an image belongs to that image.
            if whole not in stems:
                self.whole[stem].append(_source(path))
        if not is_annotation(path):
            self.pieces[PurePosixPath(name).parent.as_posix()].append(path)


def _source(path: Path) -> MaskSource:
    return DrawnMask(path) if is_annotation(path) else path


def _with_masks(
    photographs: Sequence[Photograph],
    root: Path,
    inner: Sequence[tuple[Path, Path]],
    listing: Listing,
    *,
    has_split: bool,
) -> list[Photograph]:
    own_folders = {category for category, _ in inner}

    def may_have(photograph: Photograph) -> bool:
        # Good parts need no mask, but mask folders within a category are always searched.
        return bool(photograph.label) or any(photograph.path.is_relative_to(folder) for folder in own_folders)

    places = {
        photograph.path: _places(photograph.path, root, has_split=has_split)
        for photograph in photographs
        if may_have(photograph)
    }
    masks = _Masks(
        root, inner, frozenset(name for candidates in places.values() for name in candidates), listing
    )
    names = Counter(photograph.path.stem for photograph in photographs if photograph.label)

    def mask_of(photograph: Photograph) -> MaskSource | None:
        if photograph.path not in places:
            return photograph.mask
        candidates = [mask for name in places[photograph.path] for mask in masks.whole.get(name, ())]
        if not candidates:
            pieces = [piece for name in places[photograph.path] for piece in masks.pieces.get(name, ())]
            candidates = [MaskPieces(tuple(sorted(pieces)))] if pieces else []
        if not candidates and photograph.label and names[photograph.path.stem] == 1:
            candidates = masks.flat.get(photograph.path.stem, [])
        candidates = list(dict.fromkeys([*([photograph.mask] if photograph.mask else []), *candidates]))
        if len(candidates) > 1:
            key = photograph.path.relative_to(root).as_posix()
            raise UserError(
                f"fits the same image as {candidates[1]} ({key})",
                where=candidates[0],
                remedy="keep one of them",
            )
        return candidates[0] if candidates else None

    with_masks = [
        replace(photograph, mask=mask_of(photograph)) if photograph.path in places else photograph
        for photograph in photographs
    ]
    _refuse_shared_masks(with_masks, root)
    return with_masks


def _places(path: Path, root: Path, *, has_split: bool) -> tuple[str, ...]:
    """Possible names of the mask of an image: its path, with or without the split and a folder img/."""
    stem = path.relative_to(root).with_suffix("").as_posix()
    *folders, last = stem.split("/")
    plain = "/".join([*(f for f in folders if f.lower() not in IMAGE_FOLDERS), last])
    whole = dict.fromkeys((stem, plain))
    short = [name.split("/", 1)[1] for name in whole if has_split and "/" in name]
    return tuple(dict.fromkeys((*whole, *short)))


def _refuse_shared_masks(photographs: Sequence[Photograph], root: Path) -> None:
    uses: dict[MaskSource, list[str]] = defaultdict(list)
    for photograph in photographs:
        if photograph.mask is not None:
            uses[photograph.mask].append(photograph.path.relative_to(root).as_posix())
    for mask, keys in uses.items():
        if len(keys) > 1:
            raise UserError(
                f"fits {len(keys)} images: {', '.join(sorted(keys)[:3])}",
                where=mask,
                remedy=f"lay the masks in {MASK_FOLDERS[0]}{os.sep}SPLIT{os.sep}CATEGORY and give each image "
                "its own name",
            )
