"""What `roinspect check` says of good photographs, also with another product or defective parts among them.

    python benchmarks/suspicious.py            # measures all sets
    python benchmarks/suspicious.py --tables   # puts the results into docs/data.md

Nothing is random: photographs are chosen at even intervals. At most `MOST` good ones of a set are compared,
as in `check`. Of every other set, 3 and 30 photographs are mixed in; of the defective ones, with the defect
inside the ROI, 3 at a time, up to 30 in all.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, put

from roinspect.data.dataset import load_sample
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.data.suspicious import MOST, SIDE, backbone_at_hand, features_of, odd_ones, other_product
from roinspect.synthetic.products import ProductName, write_dataset

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("suspicious")
DOCS = ROOT / "docs" / "data.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
SETS = {
    "bottle": (IMAGES / "bottle", str(IMAGES / "bottle" / "roi_rim.png")),
    "hazelnut_toy": (IMAGES / "hazelnut_toy", "auto"),
    "magnetic_tile": (IMAGES / "magnetic_tile", "auto"),
    "ball screw, all positions": (IMAGES / "ballscrew" / "manifest.csv", "column:roi_path"),
    "zipper (synthetic)": (WORK / "suspicious-zipper", "auto"),
    "vials (synthetic)": (WORK / "suspicious-vials", "auto"),
    "washers (synthetic)": (WORK / "suspicious-washers", "auto"),
}
GENERATED: tuple[tuple[ProductName, int], ...] = (("zipper", 200), ("vials", 200), ("washers", 150))
FEW, MANY, DEFECTIVE = 3, 30, 30


class Cells(NamedTuple):
    """Of photographs, see `features_of`."""

    features: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def rows(self, rows: NDArray[np.intp]) -> Cells:
        return Cells(self.features[rows], self.inside[rows])

    def some(self, count: int) -> Cells:
        last = len(self.features) - 1
        return self.rows(np.unique(np.linspace(0, last, min(count, last + 1)).round().astype(np.intp)))

    def joined(self, other: Cells) -> Cells:
        return Cells(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", action="store_true", help="put the results into docs/data.md")
    if parser.parse_args().tables:
        put(DOCS, TABLES)
        return
    for product, count in GENERATED:
        if not (folder := WORK / f"suspicious-{product}").is_dir():
            write_dataset(product, folder, count=count, seed=7, size_hw=(256, 256))
    looks = {name: described(*place) for name, place in SETS.items()}
    for name, (good, bad, seconds) in looks.items():
        others = [other for place, (other, _, _) in looks.items() if place != name]
        start = time.process_time()
        odd, other = int(odd_ones(*good).sum()), int(other_product(*good).sum())
        measures = {
            "good": len(good.features),
            "odd": odd,
            "other_product": other,
            "seconds_features": seconds,
            "seconds": round(time.process_time() - start, 1),
            "defective": defects_named(good, bad),
            "mixed": {str(count): products_named(good, others, count) for count in (FEW, MANY)},
        }
        RESULTS.append({"verb": "check", "set": name}, measures)
        print(name, measures, flush=True)


def described(data: Path, roi: str) -> tuple[Cells, Cells, float]:
    """Features of the good and of the defective photographs, and CPU seconds for 150 of them."""
    samples = [load_sample(record, (SIDE, SIDE)) for record in attach_roi(read_data(data, roi))]
    backbone = backbone_at_hand()
    if backbone is None:
        raise SystemExit("needs pip install 'roinspect[train,weights]'")
    start = time.process_time()
    cells = Cells(*features_of([one.image for one in samples], [one.roi_mask for one in samples], backbone))
    seconds = 150 * (time.process_time() - start) / len(samples)
    labels = np.array([one.label for one in samples])
    good, bad = (cells.rows(np.flatnonzero(labels == label)) for label in (0, 1))
    return good.some(MOST), bad.some(DEFECTIVE), round(seconds, 1)


def defects_named(good: Cells, bad: Cells) -> dict[str, int]:
    named = runs = hit = false = 0
    for first in range(0, len(bad.features), FEW):
        is_odd = odd_ones(*good.joined(bad.rows(np.arange(first, min(first + FEW, len(bad.features))))))
        found = int(is_odd[len(good.features) :].sum())
        named, runs, hit = named + found, runs + 1, hit + (found > 0)
        false = max(false, int(is_odd[: len(good.features)].sum()))
    return {"named": named, "of": len(bad.features), "runs": runs, "runs_with_one": hit, "false_most": false}


def products_named(good: Cells, others: list[Cells], count: int) -> dict[str, int]:
    """Mixtures in which exactly the photographs of one of the two products were found."""
    exact = 0
    for other in others:
        mixed = other.some(count)
        found = other_product(*good.joined(mixed))
        truth = np.arange(len(found)) >= len(good.features)
        exact += bool(np.array_equal(found, truth) or np.array_equal(found, ~truth))
    return {"exact": exact, "of": len(others)}


def table() -> str:
    runs = RESULTS.read(verb="check")
    head = [
        "good photographs of",
        "named, unmixed",
        "3 of another product",
        "30 of another product",
        "3 defective ones at a time",
    ]
    rows = [
        [
            run.settings["set"],
            f"{m['odd'] + m['other_product']} of {m['good']}",
            *(
                f"{m['mixed'][str(count)]['exact']} of {m['mixed'][str(count)]['of']}"
                for count in (FEW, MANY)
            ),
            f"{m['defective']['named']} of {m['defective']['of']}",
        ]
        for run in runs
        for m in [run.measures]
    ]
    return f"{markdown(head, rows)}\n\n{where(runs)}"


TABLES = {"suspicious": table}


if __name__ == "__main__":
    main()
