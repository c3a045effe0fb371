"""Detect 10-, 12- or 14-bit values in 16-bit files, which would decode to a nearly black image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from roinspect.images.pixels import BITS, SixteenBit


def shallow_warnings(images: Mapping[Path, SixteenBit], bits: int = 16) -> Iterable[str]:
    """Warn if all values of the 16-bit photographs fit into 14 bits or fewer, as many cameras store them.

    A photograph that declares its bit depth is decoded with it, so photographs that declare different depths
    give a warning too.

    Args:
        images: the 16-bit photographs with their `sixteen_bit` result.
        bits: same as for `read_image`; below 16, only values that need even fewer bits give a warning.
    """
    deep = dict(images)
    if bits == 16:
        by_bits = {content.bits: path for path, content in reversed(deep.items())}
        if len(by_bits) > 1:
            yield _unlike(by_bits, len(deep))
        deep = {path: content for path, content in deep.items() if content.bits == 16}
    peak = max((content.highest for content in deep.values()), default=0)
    needed = next((fewer for fewer in BITS if fewer < bits and 0 < peak < 1 << fewer), None)
    if needed is None:
        return
    others = f" ({len(deep)} such images)" if len(deep) > 1 else ""
    within = "a 16-bit file" if bits == 16 else f"a file that is read with --bits {bits}"
    yield (
        f"{next(iter(deep))}: values of {needed} bits in {within}{others}, none above {peak:,}, so that at "
        f"most {256 >> bits - needed} of 256 grey levels are left; train with --bits {needed}, or let the "
        "camera write them left-aligned or in 8 bits"
    )


def _unlike(by_bits: dict[int, Path], count: int) -> str:
    """Warning that declared depths differ; names one photograph of each of two depths."""
    fewest = min(by_bits)
    other = next(path for declared, path in by_bits.items() if declared != fewest)
    return (
        f"{by_bits[fewest]}: says that its values fill {fewest} bits, as {other} does not, so the {count} "
        f"16-bit images are not read at one brightness; train with --bits {fewest}, or save them alike"
    )
