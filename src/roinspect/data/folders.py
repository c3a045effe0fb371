"""Read images sorted into folders, with their defect masks: MVTec AD's layout and its relatives.

SPLIT/CATEGORY/NAME.png            or CATEGORY/NAME.png
ground_truth/CATEGORY/NAME_mask.png   a mask; also in masks/ or mask/, under SPLIT/CATEGORY, or in
                                      SPLIT/ground_truth (MVTec AD 2)
ground_truth/CATEGORY/NAME/000.png    a mask in several pieces (MVTec LOCO, AutoVI)
mask/NAME.png                         where only one defective photograph is called so (anomalib's Folder)
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
        mask: of its defects; None where there is none.
    """

    path: Path
    split: str
    label: int
    category: str
    mask: MaskSource | None = None


def read_folders(root: Path, good: Sequence[str] | None, listing: Listing) -> list[Photograph]:
    """Every photograph of a tree of folders.

    Where no category is called good and every photograph has its mask beside it, as in KolektorSDD, the mask
    says what is good: one that marks nothing.

    Args:
        root: the folder.
        good: names of good parts' folders; None takes those of `names.GOOD`.
        listing: of the folder.

    Raises:
        UserError: photographs lie outside any category, the folder holds several products, or a mask fits two
            images or an image two masks.
    """
    split_folders = [folder for folder in listing.folders(root) if folder.name.lower() in SPLITS]
    found: list[Photograph] = []
    loose: list[Path] = []
    inner: list[tuple[Path, Path]] = []
    for folder in split_folders or [root]:
        split = SPLITS[folder.name.lower()] if split_folders else ""
        categories = [inner for inner in listing.folders(folder) if inner.name.lower() not in NO_CATEGORY]
        for category in categories:
            if any(below.name.lower() in SPLITS for below in listing.folders(category)):
                raise UserError(
                    "holds several products", where=root, remedy=f"point at one, such as {category}"
                )
            is_good_one = is_good(category.name, good)
            place = split or (split_of_good(category.name) if is_good_one else "train")
            images, masks = _apart(category, listing)
            inner += [(category, mask) for mask in masks]
            found += [Photograph(path, place, int(not is_good_one), category.name) for path in images]
        if split_folders or not categories:
            own = [path for path in listing.own_files(folder) if _is_image(path)]
            loose += own
            found += [Photograph(path, split or "train", 1, "") for path in own]
    found = _with_masks_beside(found)
    is_masked = bool(found) and all(one.mask for one in found)
    if loose and not is_masked:
        _refuse_loose(loose, root, has_splits=bool(split_folders))
    if is_masked and all(one.label for one in found):
        found = [_labelled_by_mask(one) for one in found]
    return _with_masks(found, root, inner, listing, has_split=bool(split_folders))


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
    """Photographs of a category, and the files in its own folders of masks."""
    images: list[Path] = []
    masks: list[Path] = []
    # Below a folder with img/, a folder called label/ holds masks; elsewhere that may be a kind of defect.
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


# -- masks beside their photographs ------------------------------------------------------------------------


def _with_masks_beside(found: Sequence[Photograph]) -> list[Photograph]:
    """Photographs less those files that are the masks of others in their folder, which are put with these."""
    by_stem: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for one in found:
        by_stem[str(one.path.parent), one.path.stem].append(one.path)
    masks: dict[Path, list[Path]] = defaultdict(list)
    used: set[Path] = set()
    for (folder, stem), files in by_stem.items():
        _, *shorter = stems_of_mask(stem)
        for owner in shorter:
            # Two files of one name may be a photograph and its mask in their turn.
            owners = by_stem.get((folder, owner), ())
            if len(owners) == 1:
                masks[owners[0]] += files
                used.update(files)
                break
        else:
            if len(files) == 1:
                continue
            lossy = [path for path in files if path.suffix.lower() in _LOSSY]
            others = [path for path in files if path not in lossy]
            if len(lossy) == len(others) == 1 and _is_two_valued(others[0]):
                masks[lossy[0]] += others
                used.update(others)
    if not used:
        return list(found)
    for image, own in masks.items():
        if len(own) > 1:
            raise UserError(
                f"fits the same image as {own[1]} ({image})", where=own[0], remedy="keep one of them"
            )
    return [
        replace(one, mask=masks[one.path][0]) if one.path in masks else one
        for one in found
        if one.path not in used
    ]


def _is_two_valued(path: Path) -> bool:
    """Whether a picture has one or two grey levels, as masks have and no photograph has."""
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
        # Whoever reads it says why.
        return False
    is_grey = bool((pixels[..., :1] == pixels).all())
    return is_grey and int(np.count_nonzero(np.bincount(pixels[..., 0].ravel(), minlength=256))) <= 2


def _labelled_by_mask(one: Photograph) -> Photograph:
    assert isinstance(one.mask, Path)
    try:
        state = one.mask.stat()
        marks = _marks_something(one.mask, state.st_mtime_ns, state.st_size)
    except (OSError, UserError):
        # A mask that cannot be read is reported where its pixels are needed.
        marks = True
    return replace(one, label=int(marks), category=one.category or ("defective" if marks else "good"))


@lru_cache(maxsize=1 << 16)
def _marks_something(path: Path, _mtime_ns: int, _size: int) -> bool:
    return bool(read_mask(path).any())


# -- masks in folders of their own -------------------------------------------------------------------------


class _Masks:
    """Masks by what their images may be called, as paths from the root less the suffix."""

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
            # A mask that is called like an image is that image's.
            if whole not in stems:
                self.whole[stem].append(_source(path))
        if not is_annotation(path):
            self.pieces[PurePosixPath(name).parent.as_posix()].append(path)


def _source(path: Path) -> MaskSource:
    return DrawnMask(path) if is_annotation(path) else path


def _with_masks(
    found: Sequence[Photograph],
    root: Path,
    inner: Sequence[tuple[Path, Path]],
    listing: Listing,
    *,
    has_split: bool,
) -> list[Photograph]:
    own_folders = {category for category, _ in inner}

    def may_have(one: Photograph) -> bool:
        # A good part needs no mask; what lies in its own folder is looked at all the same.
        return bool(one.label) or any(one.path.is_relative_to(folder) for folder in own_folders)

    places = {one.path: _places(one.path, root, has_split=has_split) for one in found if may_have(one)}
    masks = _Masks(root, inner, frozenset(place for own in places.values() for place in own), listing)
    names = Counter(one.path.stem for one in found if one.label)

    def mask_of(one: Photograph) -> MaskSource | None:
        if one.path not in places:
            return one.mask
        own = [mask for place in places[one.path] for mask in masks.whole.get(place, ())]
        if not own:
            pieces = [piece for place in places[one.path] for piece in masks.pieces.get(place, ())]
            own = [MaskPieces(tuple(sorted(pieces)))] if pieces else []
        if not own and one.label and names[one.path.stem] == 1:
            own = masks.flat.get(one.path.stem, [])
        own = list(dict.fromkeys([*([one.mask] if one.mask else []), *own]))
        if len(own) > 1:
            key = one.path.relative_to(root).as_posix()
            raise UserError(
                f"fits the same image as {own[1]} ({key})", where=own[0], remedy="keep one of them"
            )
        return own[0] if own else None

    given = [replace(one, mask=mask_of(one)) if one.path in places else one for one in found]
    _refuse_shared_masks(given, root)
    return given


def _places(path: Path, root: Path, *, has_split: bool) -> tuple[str, ...]:
    """What the mask of an image may be called: like it, with or without its split and a folder img/."""
    stem = path.relative_to(root).with_suffix("").as_posix()
    *folders, last = stem.split("/")
    plain = "/".join([*(f for f in folders if f.lower() not in IMAGE_FOLDERS), last])
    whole = dict.fromkeys((stem, plain))
    short = [place.split("/", 1)[1] for place in whole if has_split and "/" in place]
    return tuple(dict.fromkeys((*whole, *short)))


def _refuse_shared_masks(found: Sequence[Photograph], root: Path) -> None:
    uses: dict[MaskSource, list[str]] = defaultdict(list)
    for one in found:
        if one.mask is not None:
            uses[one.mask].append(one.path.relative_to(root).as_posix())
    for mask, keys in uses.items():
        if len(keys) > 1:
            raise UserError(
                f"fits {len(keys)} images: {', '.join(sorted(keys)[:3])}",
                where=mask,
                remedy=f"lay the masks in {MASK_FOLDERS[0]}{os.sep}SPLIT{os.sep}CATEGORY and give each image "
                "its own name",
            )
