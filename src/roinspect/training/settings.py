"""Settings of a training run that every method shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Lt

from roinspect.images.pixels import refuse_unknown_bits
from roinspect.settings import Count, Rate, check

Aim: TypeAlias = Literal["false-reject", "best-f1"]
"""Rule that sets the threshold."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train, whatever the method.

    As `--preset paper` trains: ``TrainingSettings(**settings.training("paper"))`` of the method's `settings`.

    Attributes:
        size: height x width that images are resized to, such as "256x640", or one number for both.
        bits: that the values of 16-bit photographs fill: 10, 12, 14 or 16; kept in the bundle, for the line.
        steps: training steps, rounded up to whole epochs; None is the method's own default, and lets a method
            that looks at held-out parts go on for as long as they get better.
        epochs: epochs, instead of `steps`.
        batch_size: images per step and device.
        seed: fixes everything on one machine.
        held_out: share of the good training images kept for the threshold, where there is no val split.
        threshold: "false-reject" rejects no more good parts than asked, "best-f1" has the best F1 on held-out
            parts of both kinds, however many good ones that rejects.
        false_reject: share of all good parts that may be rejected.
        min_defect_pixels: defective pixels inside the ROI that make a part defective.
        memory_gb: decoded images are kept in memory up to this much, else in a file; for each device.
        accelerator: "auto", "cpu", "gpu": as Lightning takes it.
        devices: how many of each machine, as Lightning takes it; "auto" is as many as torchrun or SLURM has
            started processes for, else one.
        strategy: "ddp" trains on several devices, each with its share of the images; "auto" likewise where
            there are several.
        precision: "32-true", "bf16-mixed", "16-mixed": as Lightning takes it.
        threads: CPU threads of each device; None is all cores, shared out.
    """

    size: str = "256"
    bits: int = 16
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count = 8
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    held_out: Rate = 0.15
    threshold: Aim = "false-reject"
    false_reject: Rate = 0.01
    min_defect_pixels: Count = 1
    memory_gb: float = 4.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: Literal["auto", "ddp"] = "auto"
    precision: str = "32-true"
    threads: Count | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "training.")
        refuse_unknown_bits(self.bits, "training.bits")
