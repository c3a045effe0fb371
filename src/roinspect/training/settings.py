"""Training settings shared by all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from roinspect.errors import UserError
from roinspect.images.pixels import refuse_unknown_bits
from roinspect.settings import Count, Rate, check

Aim: TypeAlias = Literal["false-reject", "best-f1"]
"""Rule that sets the threshold."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Training settings of every method.

    For the training of `--preset paper`, use ``TrainingSettings(**settings.training("paper"))`` with the
    method's `settings`.

    Attributes:
        size: height x width to which images are resized, such as "256x640", or one number for both.
        tile: look closely at the region of interest, in square tiles of so many pixels at the photograph's
            own resolution; the whole photograph at `size` only shows where it is. None looks at the whole.
        scale: factor in (0, 1] by which photographs are reduced before they are cut into tiles.
        bits: significant bits of 16-bit photographs: 10, 12, 14 or 16; stored in the bundle.
        steps: training steps, rounded up to whole epochs; of many photographs, an epoch takes as many as
            these steps need. None is the method's default, and allows a method that monitors held-out parts
            to continue while it improves.
        epochs: epochs, instead of `steps`.
        batch_size: images per step and device.
        seed: makes the training reproducible on one machine.
        held_out: share of the good training images held out for the threshold if there is no val split.
        threshold: "false-reject" limits the share of rejected good parts, "best-f1" maximises F1 on held-out
            good and defective parts.
        false_reject: share of good parts that may be rejected.
        references: held-out photographs that the bundle carries, as files, for the self-test on the line; 0
            for none.
        min_defect_pixels: smallest number of defective pixels inside the ROI that makes a part defective.
        memory_gb: memory for decoded images, per device; beyond it they are stored in a file.
        accelerator: "auto", "cpu", "gpu": see Lightning's Trainer.
        devices: devices per machine, see Lightning's Trainer; "auto" is the number of processes started by
            torchrun or SLURM, otherwise one.
        strategy: "ddp" shares the images among the devices; "auto" is the same if there is more than one.
        precision: "32-true", "bf16-mixed", "16-mixed": see Lightning's Trainer; "auto" is bf16-mixed for
            GRD-Net on a GPU that has bfloat16, and 32-true otherwise. The bundle says which it was.
        threads: CPU threads per device; None divides all cores among the devices.
    """

    size: str = "256"
    tile: Annotated[int, Ge(32), MultipleOf(32)] | None = None
    scale: Annotated[float, Gt(0), Le(1)] = 1.0
    bits: int = 16
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count = 8
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    held_out: Rate = 0.15
    threshold: Aim = "false-reject"
    false_reject: Rate = 0.01
    references: Annotated[int, Ge(0), Le(100)] = 4
    min_defect_pixels: Count = 1
    memory_gb: float = 4.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: Literal["auto", "ddp"] = "auto"
    precision: str = "auto"
    threads: Count | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "training.")
        refuse_unknown_bits(self.bits, "training.bits")
        if self.scale != 1 and self.tile is None:
            raise UserError(
                "is for tiles", where="training.scale", remedy="set training.tile too, such as 256"
            )
