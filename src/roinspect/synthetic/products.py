"""Images of synthetic products, with regions of interest and exact defect masks.

`render` draws one picture; `write_dataset` writes an MVTec-like tree of them:

    OUT/train/good/NNN.png
    OUT/test/good/NNN.png
    OUT/test/<defect>_<inside|outside|both>/NNN.png
    OUT/ground_truth/<defect>_<inside|outside|both>/NNN_mask.png
    OUT/roi/<train|test>/<folder>/NNN.png            255 = inspect
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.paths import kind
from roinspect.errors import UserError
from roinspect.files import whole_folder, writing
from roinspect.images.pixels import write_image
from roinspect.inspection.threads import in_threads
from roinspect.synthetic.lighting import Surface, draw_camera, illuminate
from roinspect.synthetic.marks import Mask, draw_mark, find_spine
from roinspect.synthetic.textures import Field
from roinspect.synthetic.vials import Vials
from roinspect.synthetic.washers import Washers
from roinspect.synthetic.zipper import Zipper

ProductName: TypeAlias = Literal["zipper", "vials", "washers"]
Place: TypeAlias = Literal["inside", "outside", "both"]
PLACES: tuple[Place, ...] = ("inside", "outside", "both")

BOLDNESS = 1.7
"""Scale of the marks: an inspector sees them at arm's length, a network still at 128 pixels a side."""

VISIBLE = 6.0
"""Grey levels by which a defect must change a pixel for its mask to count it."""


class SyntheticSample(NamedTuple):
    """One picture: `image` uint8 (H, W, 3) RGB; `roi_mask` and `gt_mask` uint8 (H, W) in {0, 1}."""

    image: NDArray[np.uint8]
    roi_mask: Mask
    gt_mask: Mask


Part: TypeAlias = Zipper | Vials | Washers

PRODUCTS: dict[str, type[Part]] = {"zipper": Zipper, "vials": Vials, "washers": Washers}
_AS_EVER: Mapping[str, Any] = MappingProxyType({})
SHARES: tuple[tuple[str, Place | None, float], ...] = (
    ("train", None, 0.60),
    ("test", None, 0.10),
    ("test", "inside", 0.15),
    ("test", "outside", 0.10),
    ("test", "both", 0.05),
)
"""How `count` is shared out: split, place of the defect (None: a good part), share."""


def render(
    product: ProductName,
    rng: np.random.Generator,
    *,
    defect: str | None = None,
    place: Place = "inside",
    size_hw: tuple[int, int] = (256, 256),
    options: Mapping[str, Any] = _AS_EVER,
) -> SyntheticSample:
    """Draw one picture.

    The product, the camera and the defect have random streams of their own, so the same `rng` state gives the
    same picture with and without the defect, but for the defect's pixels and a rim of two.

    Args:
        product: a name of `PRODUCTS`.
        rng: source of everything random; three numbers are drawn from it.
        defect: a name from `defects(product, place)`, or None for a good part.
        place: whether the defect lies wholly inside the ROI, wholly outside it, or on both sides.
        size_hw: height and width in pixels, at least 64 each.
        options: keyword arguments of the product's class, such as the `count` and `radius` of `Washers`.

    Raises:
        UserError: unknown product or defect, or a size below 64 or too narrow for the defect.
    """
    if min(size_hw) < 64:
        raise UserError(
            "images are too small to show a defect", where=f"size {size_hw}", remedy="use at least 64"
        )
    if defect is not None and defect not in defects(product, place):
        known = ", ".join(defects(product, place))
        raise UserError(f"no such defect {place} the ROI", where=defect, remedy=f"choose one of {known}")
    streams = [np.random.default_rng(int(word)) for word in rng.integers(2**63, size=3)]
    part = _product(product)(streams[0], size_hw, **options)
    camera = draw_camera(streams[1], size_hw)
    good = camera.develop(illuminate(part.scene, part.light))
    if defect is None:
        return SyntheticSample(camera.digitise(good), part.roi, np.zeros(size_hw, np.uint8))
    for attempt in range(30):
        # What came out too faint to see is drawn again, a little bolder.
        scene = _with_defect(part, defect, place, streams[2], part.unit * BOLDNESS * (1 + 0.06 * attempt))
        if scene is None:
            continue
        bad = camera.develop(illuminate(scene, part.light))
        gt_mask = _changed(good, bad, _allowed(part, place))
        if _is_fit(gt_mask, part.roi, place):
            rim = cv2.dilate(gt_mask, np.ones((3, 3), np.uint8)).astype(np.float32)
            blend = cv2.blur(rim, (3, 3)) * _allowed(part, place)
            return SyntheticSample(camera.digitise(good + blend[..., None] * (bad - good)), part.roi, gt_mask)
    raise UserError(
        f"no room for a {defect} {place} the ROI",
        where=f"size {size_hw}",
        remedy="use a larger or squarer size",
    )


def defects(product: ProductName, place: Place) -> tuple[str, ...]:
    """Names of the defects that a product can have inside, outside or on both sides of its ROI."""
    kind = _product(product)
    return {"inside": kind.inside, "outside": kind.outside, "both": kind.both}[place]


def write_dataset(
    product: ProductName,
    out: Path,
    *,
    count: int,
    seed: int,
    size_hw: tuple[int, int] = (256, 256),
    train_defects: float = 0.0,
    options: Mapping[str, Any] = _AS_EVER,
) -> None:
    """Write `count` pictures as an MVTec-like tree with a mirrored `roi/` tree, whole or not at all.

    Of the pictures 60 % are train/good, 10 % test/good, 15 % have a defect inside the ROI, 10 % outside only
    and 5 % on both sides; the kinds of defect take turns. Picture i depends on (seed, i) and its kind alone.

    Args:
        product: a name of `PRODUCTS`.
        out: a folder that does not exist yet or is empty.
        count: number of pictures, at least 20.
        seed: not negative; the same seed gives the same bytes.
        size_hw: height and width in pixels.
        train_defects: share of the defective pictures that go to the train split, in [0, 1): none for methods
            that learn from good parts, some for classifiers.
        options: as `render`.

    Raises:
        UserError: `out` holds something or cannot be written, or an argument is out of range.
    """
    _product(product)
    if count < 20:
        raise UserError(
            f"{count} pictures do not fill every folder", where="count", remedy="ask for at least 20"
        )
    if not 0 <= train_defects < 1:
        raise UserError(f"must lie in [0, 1), not {train_defects}", where="train_defects")
    if seed < 0:
        raise UserError("is negative", where=f"seed {seed}", remedy="use 0 or more")
    place = kind(out)
    if place != "none" and (place != "folder" or any(out.iterdir())):
        raise UserError("exists and is not empty", where=out, remedy="name a new folder or empty this one")
    with writing(out, remedy="choose another place"), whole_folder(out) as unfinished:
        work = partial(_write_one, unfinished, product, seed, size_hw, options)
        numbered = enumerate(plan(product, count, train_defects))
        for _ in in_threads(work, numbered, workers=os.cpu_count() or 1, ahead=16):
            pass


class Item(NamedTuple):
    """One picture to make: `split`, `folder` under it, `stem`, and the defect with its place, if any."""

    split: str
    folder: str
    stem: str
    defect: str | None
    place: Place


def plan(product: ProductName, count: int, train_defects: float = 0.0) -> list[Item]:
    """What each of `count` pictures shows and where it goes."""
    items: list[Item] = []
    numbers: Counter[tuple[str, str]] = Counter()
    share_so_far = 0.0
    for split, place, share in SHARES:
        first = len(items)
        share_so_far += share
        kinds = defects(product, place) if place else ()
        for turn in range(round(count * share_so_far) - first):
            defect = kinds[turn % len(kinds)] if kinds else None
            folder = f"{defect}_{place}" if defect else "good"
            number = numbers[split, folder]
            # Of every kind the same share; a number is given once, as both splits share the masks' folder.
            learned = int((number + 1) * train_defects) > int(number * train_defects)
            home = "train" if defect and learned else split
            items.append(Item(home, folder, f"{number:03d}", defect, place or "inside"))
            numbers[split, folder] += 1
    return items


def _product(name: str) -> type[Part]:
    if name not in PRODUCTS:
        raise UserError("no such product", where=name, remedy=f"choose one of {', '.join(PRODUCTS)}")
    return PRODUCTS[name]


def _write_one(
    root: Path,
    product: ProductName,
    seed: int,
    size_hw: tuple[int, int],
    options: Mapping[str, Any],
    numbered: tuple[int, Item],
) -> None:
    index, item = numbered
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    sample = render(product, rng, defect=item.defect, place=item.place, size_hw=size_hw, options=options)
    write_image(root / item.split / item.folder / f"{item.stem}.png", sample.image)
    write_image(root / "roi" / item.split / item.folder / f"{item.stem}.png", 255 * sample.roi_mask)
    if item.defect:
        write_image(root / "ground_truth" / item.folder / f"{item.stem}_mask.png", 255 * sample.gt_mask)


def _with_defect(
    part: Part, kind: str, place: Place, rng: np.random.Generator, unit: float
) -> Surface | None:
    """The part's scene with a defect of scale `unit`: two specks where one cannot lie on both sides."""
    if isinstance(part, Zipper) and kind in part.structural:
        return part.broken(kind, rng)
    inside, outside = part.roi & part.field, (1 - part.roi) & part.field
    if place == "both" and kind == "particle":
        spines = [find_spine(kind, rng, region, region, unit, crossing=False) for region in (inside, outside)]
    else:
        home = outside if place == "outside" else inside
        spines = [find_spine(kind, rng, home, outside, unit, crossing=place == "both")]
    scene = part.scene.copy()
    for spine in spines:
        if spine is None:
            return None
        draw_mark(kind, rng, scene, spine, unit)
    return scene


def _allowed(part: Part, place: Place) -> Mask:
    if place == "inside":
        return part.roi
    if place == "both":
        return np.ones_like(part.roi)
    return np.equal(part.roi, 0).astype(np.uint8)


def _changed(good: Field, bad: Field, allowed: Mask) -> Mask:
    """Pixels that the defect changed visibly, but for lone specks: (H, W) in {0, 1}."""
    visible = ((np.abs(bad - good).max(axis=2) > VISIBLE) & (allowed > 0)).astype(np.float32)
    neighbours = cv2.blur(visible, (3, 3), borderType=cv2.BORDER_CONSTANT) * 9
    lasting: Mask = np.logical_and(visible, neighbours > 2.5).astype(np.uint8)
    return lasting


def _is_fit(gt_mask: Mask, roi: Mask, place: Place) -> bool:
    """Whether the mask is neither a speck nor a blotch, and both sides have their part where they should."""
    least, most = 0.0004 * min(gt_mask.shape) ** 2, 0.02 * gt_mask.size
    if place == "both" and min(gt_mask[roi > 0].sum(), gt_mask[roi == 0].sum()) < 0.4 * least:
        return False
    return bool(max(least, 4) <= gt_mask.sum() <= most)
