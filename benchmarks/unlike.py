"""How often `roinspect check` rightly or wrongly reports a photograph as unlike the rest.

    python benchmarks/unlike.py

For each real set, the number of reported photographs among its good ones; among three defective photographs
at a time added to all good ones; and among photographs of other sets, one for thirty or for ten good ones.
Nothing is random: photographs are chosen at even intervals.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.records import read_records
from roinspect.data.unlike import appearance, unlike
from roinspect.images.pixels import read_image

ROOT = Path(__file__).resolve().parent.parent
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
SETS = ("bottle", "hazelnut_toy", "magnetic_tile", "ballscrew")
AT_ONCE, SHARES = 3, (1 / 30, 1 / 10)


def main() -> None:
    looks = {name: appearances(IMAGES / name) for name in SETS}
    print("| good photographs of | named | defective among them | others, 1/30 and 1/10 as many |")
    print("| --- | --- | --- | --- |")
    for name, (good, bad) in looks.items():
        named = int(unlike(good).sum())
        others = [other for place, (other, _) in looks.items() if place != name]
        print(
            f"| {name} | {named} of {len(good)} | {found(good, bad)} | "
            f"{', '.join(mixed(good, others, share) for share in SHARES)} |"
        )


def appearances(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    records = read_records(folder)
    seen = np.stack([appearance(read_image(record.image_path)) for record in records])
    is_bad = np.array([record.label == 1 for record in records])
    return seen[~is_bad], seen[is_bad]


def found(good: NDArray[np.float32], bad: NDArray[np.float32]) -> str:
    named = 0
    for start in range(0, len(bad), AT_ONCE):
        some = bad[start : start + AT_ONCE]
        named += int(unlike(np.concatenate([good, some]))[len(good) :].sum())
    return f"{named} of {len(bad)}"


def mixed(good: NDArray[np.float32], others: list[NDArray[np.float32]], share: float) -> str:
    named = count = 0
    for other in others:
        wanted = min(max(1, round(share * len(good))), len(other))
        some = other[np.linspace(0, len(other) - 1, wanted).round().astype(int)]
        named += int(unlike(np.concatenate([good, some]))[len(good) :].sum())
        count += len(some)
    return f"{named} of {count}"


if __name__ == "__main__":
    main()
