"""Images of synthetic products, with regions of interest and exact defect masks.

`render` draws one image; `write_dataset` writes an MVTec-like tree of them:

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
from roinspect.data.width import defect_width
from roinspect.errors import UserError
from roinspect.files import whole_folder, writing
from roinspect.images.pixels import write_image
from roinspect.inspection.threads import in_threads
from roinspect.synthetic.lighting import REACH, Camera, Surface, draw_camera, illuminate
from roinspect.synthetic.marks import Mask, Spine, draw_mark, find_spine
from roinspect.synthetic.textures import Field, f32
from roinspect.synthetic.vials import Vials
from roinspect.synthetic.washers import Washers
from roinspect.synthetic.zipper import Zipper

ProductName: TypeAlias = Literal["zipper", "vials", "washers"]
Place: TypeAlias = Literal["inside", "outside", "both"]
PLACES: tuple[Place, ...] = ("inside", "outside", "both")

BOLDNESS = 1.7
"""Scale of the defects: visible to an inspector at arm's length, and to a network at 128 x 128 pixels."""

VISIBLE = 6.0
"""Smallest change of a pixel, in grey levels, that belongs to the defect mask."""

_WHERE: dict[Place, str] = {"inside": "inside", "outside": "outside", "both": "across the rim of"}

NARROWEST = 2.5
"""Smallest width of a defect in pixels that `defect_pixels` accepts."""

TOLERANCE = 0.25
"""Largest relative difference of a defect's width from the one asked for."""

_USUAL = {"particle": 6.0, "scratch": 2.0, "stain": 9.0, "hole": 7.0, "pulled_thread": 2.0}
"""Width in units of the kinds of defect with a free size, about; a tooth has the size of a tooth."""


class SyntheticSample(NamedTuple):
    """One image: `image` uint8 (H, W, 3) RGB; `roi_mask` and `gt_mask` uint8 (H, W) in {0, 1}."""

    image: NDArray[np.uint8]
    roi_mask: Mask
    gt_mask: Mask


Part: TypeAlias = Zipper | Vials | Washers

PRODUCTS: dict[str, type[Part]] = {"zipper": Zipper, "vials": Vials, "washers": Washers}
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
SHARES: tuple[tuple[str, Place | None, float], ...] = (
    ("train", None, 0.60),
    ("test", None, 0.10),
    ("test", "inside", 0.15),
    ("test", "outside", 0.10),
    ("test", "both", 0.05),
)
"""Division of `count`: split, place of the defect (None: a good part), share."""


def render(
    product: ProductName,
    rng: np.random.Generator,
    *,
    defect: str | None = None,
    place: Place = "inside",
    size_hw: tuple[int, int] = (256, 256),
    options: Mapping[str, Any] = _NO_OPTIONS,
    defect_pixels: tuple[float, float] | None = None,
) -> SyntheticSample:
    """Draw one image.

    Product, camera and defect have separate random streams: with the same `rng` state, images with and
    without the defect differ only in the defect's pixels and a rim of two pixels.

    Args:
        product: a name of `PRODUCTS`.
        rng: source of randomness; three numbers are drawn from it.
        defect: a name from `defects(product, place)`, or None for a good part.
        place: whether the defect lies entirely inside the ROI, entirely outside, or on both sides.
        size_hw: height and width in pixels, at least 64 each.
        options: keyword arguments of the product's class, such as the `count` and `radius` of `Washers`.
        defect_pixels: lowest and highest width of the defect in pixels of the image, as `defect_width`
            measures it, at least 2.5. It is drawn log-uniformly; the defect has it within 25 %. Not for
            missing and bent teeth. None scales the defect with the product.

    Raises:
        UserError: unknown product or defect, a size below 64 or too narrow for the defect, or widths that are
            out of order or do not fit.
    """
    if min(size_hw) < 64:
        raise UserError(
            "images are too small to show a defect", where=f"size {size_hw}", remedy="use at least 64"
        )
    names = defects(product, place, is_sized=defect_pixels is not None)
    if defect is not None and defect not in names:
        raise UserError(
            f"no such defect {place} the ROI", where=defect, remedy=f"choose one of {', '.join(names)}"
        )
    _refuse_widths(product, size_hw, options, defect_pixels)
    streams = [np.random.default_rng(int(word)) for word in rng.integers(2**63, size=3)]
    part = _product(product)(streams[0], size_hw, **options)
    camera = draw_camera(streams[1], size_hw)
    good = camera.develop(illuminate(part.scene, part.light))
    if defect is None:
        return SyntheticSample(camera.digitise(good), part.roi, np.zeros(size_hw, np.uint8))
    if defect_pixels is not None:
        return _sized(part, camera, good, defect, place, streams[2], defect_pixels)
    allowed = _allowed(part, place)
    for attempt in range(30):
        # Retry with a slightly larger defect if it is not visible or has no room.
        scene = _with_defect(part, defect, place, streams[2], part.unit * BOLDNESS * (1 + 0.06 * attempt))
        if scene is None:
            continue
        bad = _developed(part, scene, camera, good)
        gt_mask = _changed(good, bad, allowed)
        if _is_fit(gt_mask, part.roi, place):
            return SyntheticSample(camera.digitise(_blend(good, bad, gt_mask, allowed)), part.roi, gt_mask)
    raise UserError(
        f"no room for a {defect} {_WHERE[place]} the ROI",
        where=f"size {size_hw}",
        remedy="use a larger or squarer size",
    )


def defects(product: ProductName, place: Place, *, is_sized: bool = False) -> tuple[str, ...]:
    """Names of a product's defects inside, outside or on both sides of the ROI; only those of free size."""
    part = _product(product)
    names = {"inside": part.inside, "outside": part.outside, "both": part.both}[place]
    return tuple(name for name in names if name in _USUAL) if is_sized else names


def write_dataset(
    product: ProductName,
    out: Path,
    *,
    count: int,
    seed: int,
    size_hw: tuple[int, int] = (256, 256),
    train_defects: float = 0.0,
    options: Mapping[str, Any] = _NO_OPTIONS,
    defect_pixels: tuple[float, float] | None = None,
) -> None:
    """Write `count` images as an MVTec-like tree with a mirrored `roi/` tree; nothing is written on an error.

    60 % of the images are train/good, 10 % test/good, 15 % have a defect inside the ROI, 10 % outside and 5 %
    on both sides; the kinds of defect alternate. Image i depends only on (seed, i) and its kind.

    Args:
        product: a name of `PRODUCTS`.
        out: a folder that does not exist or is empty.
        count: number of images, at least 20.
        seed: at least 0; the same seed gives the same bytes.
        size_hw: height and width in pixels.
        train_defects: share of the defective images in the train split, in [0, 1): 0 for methods that learn
            from good parts, more for classifiers.
        options: see `render`.
        defect_pixels: see `render`; with it, the kinds of defect are those whose size is free.

    Raises:
        UserError: `out` is not empty or cannot be written, or an argument is out of range.
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
    _refuse_widths(product, size_hw, options, defect_pixels)
    state = kind(out)
    if state != "none" and (state != "folder" or any(out.iterdir())):
        raise UserError("exists and is not empty", where=out, remedy="name a new folder or empty this one")
    with writing(out, remedy="choose another place"), whole_folder(out) as unfinished:
        work = partial(_write_one, unfinished, product, seed, size_hw, options, defect_pixels)
        numbered = enumerate(plan(product, count, train_defects, is_sized=defect_pixels is not None))
        for _ in in_threads(work, numbered, workers=os.cpu_count() or 1, ahead=16):
            pass


class Item(NamedTuple):
    """One image to draw: its split, folder, file stem, and the defect, if any, with its place."""

    split: str
    folder: str
    stem: str
    defect: str | None
    place: Place


def plan(
    product: ProductName, count: int, train_defects: float = 0.0, *, is_sized: bool = False
) -> list[Item]:
    """Contents and path of each of `count` images; see `defects` for `is_sized`."""
    items: list[Item] = []
    numbers: Counter[tuple[str, str]] = Counter()
    share_so_far = 0.0
    for split, place, share in SHARES:
        first = len(items)
        share_so_far += share
        kinds = defects(product, place, is_sized=is_sized) if place else ()
        for turn in range(round(count * share_so_far) - first):
            defect = kinds[turn % len(kinds)] if kinds else None
            folder = f"{defect}_{place}" if defect else "good"
            number = numbers[split, folder]
            # The same share of every kind; numbers are unique, as both splits share a folder of masks.
            is_for_training = int((number + 1) * train_defects) > int(number * train_defects)
            item_split = "train" if defect and is_for_training else split
            items.append(Item(item_split, folder, f"{number:03d}", defect, place or "inside"))
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
    defect_pixels: tuple[float, float] | None,
    numbered: tuple[int, Item],
) -> None:
    index, item = numbered
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    sample = render(
        product,
        rng,
        defect=item.defect,
        place=item.place,
        size_hw=size_hw,
        options=options,
        defect_pixels=defect_pixels,
    )
    write_image(root / item.split / item.folder / f"{item.stem}.png", sample.image)
    write_image(root / "roi" / item.split / item.folder / f"{item.stem}.png", 255 * sample.roi_mask)
    if item.defect:
        write_image(root / "ground_truth" / item.folder / f"{item.stem}_mask.png", 255 * sample.gt_mask)


def _with_defect(
    part: Part, kind: str, place: Place, rng: np.random.Generator, unit: float
) -> Surface | None:
    """The part's scene with a defect of scale `unit`; None if there is no room."""
    if isinstance(part, Zipper) and kind in part.structural:
        return part.broken(kind, rng)
    spines = _spines(part, kind, place, rng, unit)
    scene = part.scene.copy()
    for spine in spines:
        if spine is None:
            return None
        draw_mark(kind, rng, scene, spine, unit)
    return scene


def _spines(part: Part, kind: str, place: Place, rng: np.random.Generator, unit: float) -> list[Spine | None]:
    """Where the defect goes. A particle is too small to lie on both sides of the ROI, so two are drawn."""
    inside, outside = part.roi & part.field, (1 - part.roi) & part.field
    if place == "both" and kind == "particle":
        regions = [(inside, inside), (outside, outside)]
    else:
        regions = [(outside if place == "outside" else inside, outside)]
    crossing = place == "both" and kind != "particle"
    scale = _scale(part)
    return [find_spine(kind, rng, *region, unit, crossing=crossing, scale=scale) for region in regions]


def _scale(part: Part) -> int:
    return int(part.scene.height.shape[0] // part.roi.shape[0])


def _sized(
    part: Part,
    camera: Camera,
    good: Field,
    kind: str,
    place: Place,
    rng: np.random.Generator,
    widths: tuple[float, float],
) -> SyntheticSample:
    """The photograph with a defect as wide as one number drawn from `widths`, log-uniformly."""
    target = float(np.exp(rng.uniform(*np.log(widths))))
    unit = target * _scale(part) / _USUAL[kind]
    for _ in range(12):
        found = _spines(part, kind, place, rng, unit)
        spines = [spine for spine in found if spine is not None]
        seed = int(rng.integers(2**63))
        factors, low, high = np.ones(len(spines)), np.zeros(len(spines)), np.full(len(spines), np.inf)
        for _ in range(7 if len(spines) == len(found) else 0):
            # The same defect, wider or narrower, where it is.
            drawn = [
                Spine(spine.points_xy, spine.radius * factor)
                for spine, factor in zip(spines, factors, strict=True)
            ]
            image, gt_mask = _marked(part, camera, good, kind, place, seed, drawn, unit * factors)
            measured = _widths(gt_mask, part.roi, place, len(spines))
            if (np.abs(measured / target - 1) < TOLERANCE).all() and _is_across(gt_mask, part.roi, place):
                return SyntheticSample(camera.digitise(image), part.roi, gt_mask)
            is_narrow = measured < target
            low, high = np.where(is_narrow, factors, low), np.where(is_narrow, high, factors)
            step = factors * np.clip(target / np.maximum(measured, 0.1), 0.6, 1.6)
            # Between two that were tried: bisect if the step leaves the bracket.
            is_past = (low > 0) & (high < np.inf) & ((step <= low) | (step >= high))
            factors = np.where(is_past, np.sqrt(low * np.minimum(high, 1e6)), step)
    raise UserError(
        f"no room for a {kind} {target:.1f} pixels wide {_WHERE[place]} the ROI",
        where=f"size {good.shape[:2]}",
        remedy="ask for narrower or wider defects, or a larger image",
    )


def _marked(
    part: Part,
    camera: Camera,
    good: Field,
    kind: str,
    place: Place,
    seed: int,
    spines: list[Spine],
    units: NDArray[np.float64],
) -> tuple[Field, Mask]:
    """The noise-free photograph (H, W, 3) with these defects, and their mask (H, W)."""
    rng = np.random.default_rng(seed)
    image, gt_mask = good.copy(), np.zeros(good.shape[:2], np.uint8)
    scale, coarse = _scale(part), part.scene.coarse
    margin = 2 * max(spine.radius for spine in spines) + 6 * float(max(units)) + 2 * REACH * coarse
    points = np.concatenate([spine.points_xy for spine in spines])
    cell = scale * coarse
    low = np.maximum((points.min(axis=0) - margin) // cell, 0).astype(int) * coarse
    high = np.ceil((points.max(axis=0) + margin) / cell).astype(int) * coarse
    high = np.minimum(high, good.shape[1::-1])
    at = slice(low[1], high[1]), slice(low[0], high[0])
    fine = slice(scale * low[1], scale * high[1]), slice(scale * low[0], scale * high[0])
    scene = part.scene.window(*fine).copy()
    for spine, unit in zip(spines, units, strict=True):
        moved = Spine(f32(spine.points_xy - scale * low), spine.radius)
        draw_mark(kind, rng, scene, moved, float(unit))
    bad = _window(part, scene, camera, good, at)
    allowed = _allowed(part, place)[at]
    gt_mask[at] = _changed(good[at], bad, allowed)
    image[at] = _blend(good[at], bad, gt_mask[at], allowed)
    return image, gt_mask


def _widths(gt_mask: Mask, roi: Mask, place: Place, defects: int) -> NDArray[np.float64]:
    """Width of each defect in pixels, on both sides of the ROI if there are two."""
    rows, columns = np.flatnonzero(gt_mask.any(axis=1)), np.flatnonzero(gt_mask.any(axis=0))
    if not rows.size:
        return np.zeros(defects)
    at = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    marked, inside = gt_mask[at], roi[at]
    if defects == 2:
        return np.array([defect_width(marked, side) for side in (inside, 1 - inside)])
    return np.array([defect_width(marked, np.ones_like(inside) if place == "outside" else inside)])


def _is_across(gt_mask: Mask, roi: Mask, place: Place) -> bool:
    """Whether a defect for `both` sides of the ROI has a tenth of its area at least on either."""
    inside = int((gt_mask & roi).sum())
    return place != "both" or 0.1 <= inside / int(gt_mask.sum()) <= 0.9


def _refuse_widths(
    product: ProductName,
    size_hw: tuple[int, int],
    options: Mapping[str, Any],
    widths: tuple[float, float] | None,
) -> None:
    if widths is None:
        return
    low, high = widths
    if not NARROWEST <= low <= high < np.inf:
        raise UserError(
            f"must be two widths, {NARROWEST:g} <= low <= high, not {low:g} and {high:g}",
            where="defect_pixels",
        )
    # The geometry scales with the image: measure it on a small one.
    factor = 128 / min(size_hw)
    small_hw = round(size_hw[0] * factor), round(size_hw[1] * factor)
    roi = _product(product)(np.random.default_rng(0), small_hw, **options).roi
    widest = defect_width(roi, np.ones_like(roi)) / factor / 6
    if high > widest:
        raise UserError(
            f"{high:g} pixels are more than a sixth of the ROI's width, {widest:.0f} pixels",
            where="defect_pixels",
            remedy="ask for narrower defects or a larger image",
        )


def _developed(part: Part, scene: Surface, camera: Camera, good: Field) -> Field:
    """The photograph (H, W, 3) of a scene with a defect, before noise; `good` is the one without."""
    if part.scene.height.shape != good.shape[:2]:
        return camera.develop(illuminate(scene, part.light))
    # A large image: only what the defect changes.
    at = scene.change(part.scene)
    bad = good.copy()
    bad[at] = _window(part, scene.window(*at), camera, good, at)
    return bad


def _window(part: Part, scene: Surface, camera: Camera, good: Field, at: tuple[slice, slice]) -> Field:
    """The photograph of a window of a scene, (h, w, 3), as good as the rest within `REACH` of its edges.

    There the window lacks what casts shadows into it.
    """
    scale = _scale(part)
    fine = [slice(scale * side.start, scale * side.stop) for side in at]
    bad = camera.window(*at).develop(illuminate(scene, part.light.window(*fine)))
    rim = -(-REACH * scene.coarse // scale)
    inner = tuple(
        slice(rim if side.start else 0, side.stop - side.start - (rim if side.stop < length else 0))
        for side, length in zip(at, good.shape[:2], strict=True)
    )
    result = good[at].copy()
    result[inner] = bad[inner]
    return f32(result)


def _blend(good: Field, bad: Field, gt_mask: Mask, allowed: Mask) -> Field:
    """The good photograph, (H, W, 3), with the defect in its mask and a rim around it."""
    rim = cv2.dilate(gt_mask, np.ones((3, 3), np.uint8)).astype(np.float32)
    blend = cv2.blur(rim, (3, 3)) * allowed
    return f32(good + blend[..., None] * (bad - good))


def _allowed(part: Part, place: Place) -> Mask:
    if place == "inside":
        return part.roi
    if place == "both":
        return np.ones_like(part.roi)
    return np.equal(part.roi, 0).astype(np.uint8)


def _changed(good: Field, bad: Field, allowed: Mask) -> Mask:
    """Pixels that the defect changed visibly, without isolated ones: (H, W) in {0, 1}."""
    change = cv2.absdiff(bad, good)
    brightest = np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2])
    visible = ((brightest > VISIBLE) & (allowed > 0)).astype(np.float32)
    neighbours = cv2.blur(visible, (3, 3), borderType=cv2.BORDER_CONSTANT) * 9
    mask: Mask = np.logical_and(visible, neighbours > 2.5).astype(np.uint8)
    return mask


def _is_fit(gt_mask: Mask, roi: Mask, place: Place) -> bool:
    """Whether the area of the mask is plausible, and, for `both`, lies on both sides of the ROI."""
    least, most = 0.0004 * min(gt_mask.shape) ** 2, 0.02 * gt_mask.size
    if place == "both" and min(gt_mask[roi > 0].sum(), gt_mask[roi == 0].sum()) < 0.4 * least:
        return False
    return bool(max(least, 4) <= gt_mask.sum() <= most)
