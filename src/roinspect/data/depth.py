"""Detect 10-, 12- or 14-bit values in 16-bit files, which would decode to a nearly black image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from roinspect.images.pixels import BITS, SixteenBit


def shallow_warnings(images: Mapping[Path, SixteenBit], bits: int = 16) -> Iterable[str]:
    """A line where no value of all 16-bit photographs needs more than 14 bits, as many cameras store them.

    Photographs that say how many bits they fill are read by it, so a line is also due where some say another
    number than others.

    Args:
        images: the 16-bit photographs, and what each holds, as `sixteen_bit`.
        bits: as `read_image`; with fewer than 16 only values that need still fewer are told.
    """
    deep = dict(images)
    if bits == 16:
        by_told = {held.bits: path for path, held in reversed(deep.items())}
        if len(by_told) > 1:
            yield _unlike(by_told, len(deep))
        deep = {path: held for path, held in deep.items() if held.bits == 16}
    most = max((held.highest for held in deep.values()), default=0)
    needed = next((fewer for fewer in BITS if fewer < bits and 0 < most < 1 << fewer), None)
    if needed is None:
        return
    others = f" ({len(deep)} such images)" if len(deep) > 1 else ""
    within = "a 16-bit file" if bits == 16 else f"a file that is read with --bits {bits}"
    yield (
        f"{next(iter(deep))}: values of {needed} bits in {within}{others}, none above {most:,}, so that at "
        f"most {256 >> bits - needed} of 256 grey levels are left; train with --bits {needed}, or let the "
        "camera write them left-aligned or in 8 bits"
    )


def _unlike(by_told: dict[int, Path], count: int) -> str:
    """Of which one photograph each is named."""
    fewest = min(by_told)
    other = next(path for told, path in by_told.items() if told != fewest)
    return (
        f"{by_told[fewest]}: says that its values fill {fewest} bits, as {other} does not, so the {count} "
        f"16-bit images are not read at one brightness; train with --bits {fewest}, or save them alike"
    )
