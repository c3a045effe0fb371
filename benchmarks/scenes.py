"""How many images of something else pass as good, and how many good parts are not inspectable.

    python benchmarks/scenes.py             # about an hour; continues where it stopped
    python benchmarks/scenes.py --tables    # puts the result into docs/scenes.md

An image passes if its verdict is "good"; by the score alone, if its score lies below the threshold. The
margins of `roinspect.inspection.scene` were chosen on the synthetic sets and on hazelnut_toy; the other real
sets were only evaluated once, with this script. Needs the images in the
folder ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from false_rejects import IMAGES, ROOT, SETS, Set
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, put

from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.records import Record, read_records
from roinspect.evaluation.intervals import rate_interval
from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.inspector import Inspector
from roinspect.methods.method import method_class
from roinspect.methods.registry import METHODS
from roinspect.segmenter.roi import with_roi
from roinspect.synthetic.products import render, write_dataset
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

RESULTS = Results("scenes")
DOCS = ROOT / "docs" / "scenes.md"
SYNTHETIC: dict[str, tuple[str, int, dict[str, Any]]] = {
    "zipper": ("zipper", 128, {}),
    "vials": ("vials", 128, {}),
    "one washer anywhere": ("washers", 256, {}),
    "three washers anywhere": ("washers", 256, {"count": 3}),
}
"""Product, pixels per side, options."""
CHOSEN_ON = (*SYNTHETIC, "hazelnut_toy")
RUNS = (
    ("one washer anywhere", "roibank"),
    ("three washers anywhere", "roibank"),
    ("zipper", "roibank"),
    ("zipper", "ceod"),
    ("vials", "roibank"),
    ("hazelnut_toy", "roibank"),
    ("bottle, rim", "roibank"),
    ("magnetic_tile", "roibank"),
    ("ball screw, positions declared", "roibank"),
    ("ball screw, positions declared", "ceod"),
    ("zipper", "grdnet"),
)
SEEDS, MOST, OTHERS, PLAIN = 2, 40, 8, 4
"""Trainings; pictures of a kind at most, of each other product, and without any content."""

Images: TypeAlias = Sequence[NDArray[np.uint8]]


def main() -> None:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true")
    if parser.parse_args().tables:
        put(DOCS, TABLES)
        return
    with tempfile.TemporaryDirectory() as scratch:
        sets = dict(SETS)
        for name, (product, side, options) in SYNTHETIC.items():
            folder = Path(scratch) / name.replace(" ", "-")
            write_dataset(
                product, folder, count=160, seed=0, size_hw=(side, side), train_defects=0.3, options=options
            )
            sets[name] = Set(folder, "auto", str(side))
        for seed, (name, method) in itertools.product(range(SEEDS), RUNS):
            settings = {"set": name, "method": method}
            if not RESULTS.has(settings, seed):
                start = time.time()
                RESULTS.append(settings, _measured(name, method, sets, seed, Path(scratch)), seed=seed)
                print(f"{name}, {method}, seed {seed}: {time.time() - start:.0f} s", flush=True)


def _measured(name: str, method: str, sets: dict[str, Set], seed: int, scratch: Path) -> dict[str, Any]:
    about = sets[name]
    bundle_path = scratch / f"{name}-{method}-{seed}".replace(" ", "").replace(",", "")
    settings = method_class(method).settings_class()
    columns = about.columns
    train(
        method,
        about.data,
        bundle_path,
        method_settings=settings,
        training=TrainingSettings(size=about.size, seed=seed),
        roi=about.roi,
        columns=columns,
    )
    inspector = Inspector.load(bundle_path, "torch")
    records = [one for one in read_records(about.data, columns=columns) if one.split == "test"]
    records = with_roi(read_data(about.data, about.roi, columns=columns), records)
    with DecodedCache(records, inspector.bundle.size_hw) as cache:
        good, defective = (np.flatnonzero(cache.labels == label) for label in (0, 1))
        shown = good[np.linspace(0, len(good) - 1, min(MOST, len(good))).round().astype(int)]
        images, masks = cache.images[shown], cache.roi_masks[shown]
        scenes: dict[str, Images] = {
            **_taken_away(name),
            "part painted over": [_painted_over(*pair) for pair in zip(images, masks, strict=True)],
            "black, white, grey, noise": _plain(inspector.bundle),
            "blur, sigma 6": [cv2.GaussianBlur(image, (0, 0), 6) for image in images],
            "another product": list(_others(name, sets, inspector.bundle)),
        }
        counts = {kind: _count(inspector, pictures) for kind, pictures in scenes.items()}
        return {
            "limits": inspector.bundle.scene and inspector.bundle.scene.origin,
            "good": _count(inspector, list(cache.images[good])),
            "defective": _count(inspector, list(cache.images[defective])),
            **counts,
        }


def _taken_away(name: str) -> dict[str, Images]:
    """The washers' background without washers, or with two of three; empty for other sets."""
    product, side, options = SYNTHETIC.get(name, ("", 0, {}))
    if product != "washers":
        return {}
    count = options.get("count", 1)
    kinds = {"the part absent": count} | ({"one of three absent": 1} if count == 3 else {})
    return {
        kind: [
            render(
                product,
                np.random.default_rng(10_000 + number),
                size_hw=(side, side),
                options={**options, "missing": missing},
            ).image
            for number in range(MOST)
        ]
        for kind, missing in kinds.items()
    }


def _count(inspector: Inspector, pictures: Images) -> dict[str, Any]:
    """How many images pass by the score alone, and how many with the verdict "good"."""
    verdicts = [inspector.inspect(picture) for picture in pictures]
    lost = [one for one in verdicts if one.verdict == "not inspectable"]
    return {
        "pictures": len(verdicts),
        "low_score": sum(one.pred_score < one.threshold for one in verdicts),
        "good": sum(one.verdict == "good" for one in verdicts),
        "reasons": sorted({str(one.reason) for one in lost})[:5],
    }


def _painted_over(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The region filled from its surroundings."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    return np.asarray(cv2.inpaint(image, wide, 3, cv2.INPAINT_TELEA), np.uint8)


def _plain(bundle: Bundle) -> Images:
    shape = (*bundle.size_hw, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pictures = [*(np.full(shape, value, np.uint8) for value in (0, 255, 128)), noise]
    assert len(pictures) == PLAIN
    return pictures


def _others(name: str, sets: dict[str, Set], bundle: Bundle) -> Iterator[NDArray[np.uint8]]:
    """Good parts of all other sets."""
    for other, about in sets.items():
        if _kind(other) != _kind(name):
            for record in _good(about)[:OTHERS]:
                yield resize_image(read_image(record.image_path), bundle.size_hw)


def _kind(name: str) -> str:
    """The product of a set, without its options."""
    return SYNTHETIC[name][0] if name in SYNTHETIC else name.split(",")[0]


def _good(about: Set) -> list[Record]:
    records = read_records(about.data, columns=about.columns)
    return [one for one in records if one.split == "test" and one.label == 0]


def _table() -> str:
    kinds = (
        "the part absent",
        "one of three absent",
        "part painted over",
        "black, white, grey, noise",
        "blur, sigma 6",
        "another product",
    )
    head = ["set, method", *kinds, "defective", "good parts lost"]
    lines = []
    for name, method in RUNS:
        rows = [run.measures for run in RESULTS.read(set=name, method=method)]
        if not rows:
            continue

        def summed(kind: str, what: str, rows: list[Mapping[str, Any]] = rows) -> int:
            return sum(row[kind][what] for row in rows)

        cells = [
            f"{summed(kind, 'low_score')} → {summed(kind, 'good')} of {summed(kind, 'pictures')}"
            if kind in rows[0]
            else "-"
            for kind in (*kinds, "defective")
        ]
        lost = summed("good", "low_score") - summed("good", "good")
        mark = "" if name in CHOSEN_ON else " (unseen)"
        lines.append([f"{name}{mark}, {method}", *cells, f"{lost} of {summed('good', 'pictures')}"])
    pictures, plain = (100 * rate_interval(np.zeros(count, bool)).high for count in (MOST, PLAIN))
    about = (
        f"{where(RESULTS.read())}. Sums over {SEEDS} trainings, each of which sees the same pictures: 0 of "
        f"80 is 0 of {MOST} pictures, twice. 0 of {MOST} is compatible with a true rate of up to "
        f"{pictures:.0f} %, and 0 of the {PLAIN} plain ones with up to {plain:.0f} % (95 % intervals)."
    )
    return f"{markdown(head, lines)}\n\n{about}"


TABLES = {"scenes": _table}


if __name__ == "__main__":
    assert set(METHODS) >= {method for _, method in RUNS} and IMAGES.is_dir()
    main()
