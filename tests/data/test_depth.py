"""Values of 10, 12 or 14 bits in 16-bit files are told; other files are not even decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roinspect.data.check import check
from roinspect.data.depth import shallow_warnings
from roinspect.data.records import read_records
from roinspect.images import pixels
from roinspect.images.pixels import highest_value, write_image


def grey(bits: int, seed: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << bits, (30, 40), endpoint=False).astype(dtype)


def warned(images: list[Path]) -> list[str]:
    values = {path: highest_value(path) for path in images}
    return list(shallow_warnings({path: value for path, value in values.items() if value is not None}))


@pytest.mark.parametrize(("bits", "levels"), [(10, 4), (12, 16), (14, 64)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_sensors_bits_are_told_with_a_remedy_that_works(
    bits: int, levels: int, suffix: str, tmp_path: Path
) -> None:
    images = [tmp_path / f"{number}{suffix}" for number in range(3)]
    for number, path in enumerate(images):
        write_image(path, grey(bits, number))
    (line,) = warned(images)
    assert str(images[0]) in line and f"{bits} bits" in line and "(3 such images)" in line
    assert f"at most {levels} of 256 grey levels" in line
    factor = 1 << 16 - bits
    assert f"multiply them by {factor}," in line
    for number, path in enumerate(images):
        write_image(path, grey(bits, number) * np.uint16(factor))
    assert warned(images) == []


def test_one_bright_photograph_settles_it(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", grey(12, 0))
    write_image(tmp_path / "1.png", grey(16, 1))
    assert warned([tmp_path / "0.png", tmp_path / "1.png"]) == []


def test_files_of_eight_bits_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [tmp_path / f"0{suffix}" for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp")]
    for path in images:
        write_image(path, grey(4, 0, np.uint8))
    monkeypatch.setattr(pixels, "decode", lambda *_: pytest.fail("was decoded"))
    assert warned(images) == []


def test_check_warns(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"good/{number}.png", grey(12, number))
    findings = check(read_records(tmp_path))
    assert any("values of 12 bits in a 16-bit file" in line for line in findings.warnings)
