"""Values of 10, 12 or 14 bits in 16-bit files are told; other files are not even decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from roinspect.data.check import check
from roinspect.data.depth import shallow_warnings
from roinspect.data.records import read_records
from roinspect.images import pixels
from roinspect.images.pixels import sixteen_bit, write_image


def grey(bits: int, seed: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << bits, (30, 40), endpoint=False).astype(dtype)


def warned(images: list[Path], bits: int = 16) -> list[str]:
    deep = {path: held for path in images if (held := sixteen_bit(path)) is not None}
    return list(shallow_warnings(deep, bits))


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
    assert f"train with --bits {bits}," in line and "left-aligned" in line
    assert warned(images, bits) == []
    for number, path in enumerate(images):
        write_image(path, grey(bits, number) << 16 - bits)
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


def test_bits_that_are_still_too_many_are_told(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", grey(10, 0))
    (line,) = warned([tmp_path / "0.png"], 12)
    assert "values of 10 bits in a file that is read with --bits 12" in line
    assert "at most 64 of 256 grey levels are left; train with --bits 10," in line


def told(path: Path, number: int, highest: int = 4095) -> Path:
    tifffile.imwrite(path, grey(12, number), extratags=[(281, "H", 1, highest, True)])
    return path


def test_what_the_files_say_themselves_needs_no_warning(tmp_path: Path) -> None:
    images = [told(tmp_path / f"{number}.tif", number) for number in range(3)]
    assert warned(images) == []


def test_files_of_which_some_say_so_are_told(tmp_path: Path) -> None:
    images = [told(tmp_path / "0.tif", 0, 3000), told(tmp_path / "1.tif", 1), told(tmp_path / "2.tif", 2)]
    unlike, shallow = warned(images)
    assert unlike.startswith(f"{images[1]}: says that its values fill 12 bits, as {images[0]} does not")
    assert "the 3 16-bit images are not read at one brightness; train with --bits 12," in unlike
    assert shallow.startswith(f"{images[0]}: values of 12 bits in a 16-bit file, none above")
    assert warned(images, 12) == []


def test_check_warns_unless_it_is_told(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"good/{number}.png", grey(12, number))
    records = read_records(tmp_path)
    assert any("values of 12 bits in a 16-bit file" in line for line in check(records).warnings)
    findings = check(records, bits=12)
    assert not findings.problems and not any("bits" in line for line in findings.warnings)
    assert any("is more than 10 bits hold" in line for line in check(records, bits=10).problems)
