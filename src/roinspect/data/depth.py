"""Values of 10, 12 or 14 bits in 16-bit files: read as they are, they leave a nearly black photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from roinspect.errors import UserError
from roinspect.images.pixels import BITS, SixteenBit, sixteen_bit
from roinspect.inspection.threads import in_threads


def shallow_warnings(images: Sequence[Path], bits: int = 16, *, workers: int = 2) -> Iterable[str]:
    """A line where no value of all 16-bit photographs needs more than 14 bits, as many cameras store them.

    Photographs that say how many bits they fill are read by it, so a line is also due where some say another
    number than others. Files of 8 bits are not decoded.

    Args:
        images: photographs; what cannot be read is passed over.
        bits: as `read_image`; with fewer than 16 only values that need still fewer are told.
        workers: decoding threads.
    """

    def look(path: Path) -> SixteenBit | None:
        try:
            return sixteen_bit(path)
        except UserError:
            return None

    found = zip(images, in_threads(look, images, workers=workers, ahead=16), strict=True)
    deep = {path: held for path, held in found if held is not None}
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
