"""How many kinds of image files are read correctly, rejected, or read wrongly; results on damaged files.

    python benchmarks/pixel_formats.py

Writes every file of `pixel_files`, reads it and compares all pixels. Then some of them are truncated, get a
tail of zeros, or have a byte changed. Prints the tables of docs/formats.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pixel_files import every_file
from pixel_files.made import Made

from roinspect.errors import UserError
from roinspect.images.pixels import read_image

OUTCOMES = ("right", "not supported", "called damaged", "wrong")
HARMS = ("cut off", "tail of zeros", "byte changed")


def outcome(made: Made) -> str:
    """One of `OUTCOMES`; calling an intact file damaged is also an error."""
    try:
        read = read_image(made.data)
    except UserError as error:
        return "not supported" if "not supported" in error.what else "called damaged"
    if made.truth is None or read.shape != made.truth.shape:
        return "wrong"
    return "right" if np.abs(read.astype(int) - made.truth).max() <= made.tolerance else "wrong"


def harmed(data: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """The file truncated, with its end replaced by zeros, and with one byte changed."""
    random = np.random.default_rng(seed)
    for share in (0.2, 0.5, 0.8, 0.95):
        yield "cut off", data[: int(len(data) * share)]
    for share in (0.3, 0.6, 0.8, 0.9):
        kept = int(len(data) * share)
        yield "tail of zeros", data[:kept] + bytes(len(data) - kept)
    for _ in range(6):
        other = bytearray(data)
        place = int(random.integers(len(data)))
        other[place] ^= int(random.integers(1, 256))
        yield "byte changed", bytes(other)


def after(made: Made, data: bytes) -> str:
    """The result of reading a damaged file: "refused", "unharmed" or "changed"."""
    try:
        read = read_image(data)
    except UserError:
        return "refused"
    same = made.truth is not None and read.shape == made.truth.shape
    return "unharmed" if same and np.array_equal(read, _intact(made)) else "changed"


def _intact(made: Made) -> NDArray[np.uint8]:
    return read_image(made.data)


def main() -> None:
    counts: dict[str, Counter[str]] = {}
    harms: dict[tuple[str, str], Counter[str]] = {}
    for number, made in enumerate(every_file()):
        found = outcome(made)
        counts.setdefault(made.format, Counter())[found] += 1
        if found in ("wrong", "called damaged"):
            print(f"{found}: {made.format}, {made.name}")
        if found == "right" and number % 5 == 0:
            for harm, data in harmed(made.data, number):
                harms.setdefault((made.format, harm), Counter())[after(made, data)] += 1
    print(f"\n| format | {' | '.join(OUTCOMES)} |\n| --- |{' ---: |' * len(OUTCOMES)}")
    for name, count in counts.items():
        print(f"| {name} | {' | '.join(f'{count[one]:,}' for one in OUTCOMES)} |")
    total = sum(counts.values(), Counter())
    print(f"| all | {' | '.join(f'{total[one]:,}' for one in OUTCOMES)} |")
    print(
        "\n| format | damage | refused | same picture | another picture |\n| --- | --- | ---: | ---: | ---: |"
    )
    for (name, harm), count in harms.items():
        print(f"| {name} | {harm} | {count['refused']} | {count['unharmed']} | {count['changed']} |")


if __name__ == "__main__":
    main()
