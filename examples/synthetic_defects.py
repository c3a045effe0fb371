"""Perlin-shaped defects in a photograph, for training any detector.

python examples/synthetic_defects.py PHOTOGRAPH OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from roinspect import perturb
from roinspect.images.pixels import read_image, write_image


def main(photograph: Path, out: Path, count: int = 4) -> None:
    """Write OUT/0.png, OUT/0_mask.png and so on: the photograph with defects, and their masks."""
    image = torch.from_numpy(read_image(photograph)).permute(2, 0, 1).float() / 255
    batch = image.repeat(count, 1, 1, 1)
    noisy, mask = perturb(batch, generator=torch.Generator().manual_seed(0), clean_share=0)
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = (noisy[number].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        write_image(out / f"{number}.png", pixels)
        write_image(out / f"{number}_mask.png", mask[number, 0].numpy().astype(np.uint8) * 255)
    # Nothing changes outside the mask.
    assert torch.equal(noisy * (1 - mask), batch * (1 - mask))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
