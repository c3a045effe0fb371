"""Rival methods through anomalib (extra `peers`): records in, scores and maps out.

Any of anomalib's image models can be used by name, such as "padim"; "anomalib:Padim" is the same, and is
anomalib's even if one of ours should have that name. They keep anomalib's defaults, except where these would
make a comparison unequal:

- images are read and resized by `roinspect.images.pixels`, and all are trained at one batch size;
- scores and maps are raw: anomalib's threshold and scaling, fitted on half of the test set, are not used;
- nothing is downloaded: pretrained weights come from this machine (see `peer_process`), textures from a
  folder.

Each runs in its own process, which is killed if it takes too long.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from roinspect.comparison.contender import Scored, run_contender
from roinspect.data.records import Record, find_images
from roinspect.errors import UserError, nearest

RIVALS = ("draem", "ganomaly", "mh_patchcore", "padim", "patchcore", "supersimplenet")
"""Those of the papers (DRAEM, GANomaly, PaDiM, PatchCore) and younger ones; all learn from good parts."""

PREFIX = "anomalib:"
"""May stand before a model's name."""

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def peer_names() -> list[str]:
    """Names of anomalib's image models, such as "efficient_ad"; empty if anomalib is not installed."""
    # From the folders, as importing all of anomalib takes seconds.
    spec = importlib.util.find_spec("anomalib")
    if spec is None or spec.origin is None:
        return []
    folders = Path(spec.origin).with_name("models").joinpath("image").iterdir()
    return sorted(folder.name for folder in folders if (folder / "__init__.py").is_file())


def refuse_unknown_peer(name: str) -> None:
    """Raise a UserError if anomalib is not installed or has no image model of that name."""
    names = peer_names()
    if not names:
        raise UserError(
            "needs anomalib, which is not installed",
            where=name,
            remedy='run: pip install "roinspect[peers]"',
        )
    if plain_name(name) not in map(plain_name, names):
        told = "neither roinspect nor anomalib has such a method"
        if name.startswith(PREFIX):
            told = "anomalib has no such model"
        raise UserError(
            f"{told}{nearest(name.removeprefix(PREFIX).lower(), names)}",
            where=name,
            remedy=f"anomalib has {', '.join(names)}",
        )


def plain_name(name: str) -> str:
    """A model's name for comparison: "anomalib:EfficientAd" and "efficient_ad" are the same."""
    return name.removeprefix(PREFIX).lower().replace("_", "")


def run_peer(
    name: str,
    train: Sequence[Record],
    test: Sequence[Record],
    size_hw: tuple[int, int],
    *,
    log: Path,
    budget_seconds: float = 600,
    limit_seconds: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
    settings: Mapping[str, Any] | None = None,
    textures: Path | None = None,
    bits: int = 16,
    tile: int | None = None,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    clock: Literal["wall", "cpu"] = "wall",
    epochs: int | None = None,
    accelerator: str = "auto",
) -> Scored:
    """Train one of anomalib's models and score test images with it.

    Args:
        name: of the model: "padim", "EfficientAd", "anomalib:EfficientAd".
        train: good parts to train on.
        test: to score, in order.
        size_hw: height and width of the images and the maps. A method that accepts only other sizes, such as
            GANomaly, gets the nearest of these; its notes say so.
        log: file for anomalib's output.
        budget_seconds: models that are trained step by step stop after this time; infinite without a limit.
        limit_seconds: others, such as PatchCore, are killed after this one; None: see `contender.SLACK`.
        seed: for weights, order and noise.
        batch_size: images per training step.
        settings: keyword arguments of the model's class that differ from its defaults.
        textures: images for DRAEM's synthetic defects, such as the DTD data set of its authors; None uses
            synthetic textures.
        bits: see `read_image`.
        tile: side of the tiles in which anomalib's `Tiler` passes an image to the backbone, for models that
            have one, such as PaDiM and PatchCore; None passes it whole.
        environment: variables set for its process.
        stop: set from another thread to kill it.
        clock: of the budget and of the training's seconds; "cpu" is the processor time of all its threads, to
            which other work on the machine adds nothing.
        epochs: largest number of epochs, unless the model has its own; None leaves the limit to the budget.
        accelerator: "auto", "cpu" or "gpu".

    Returns:
        The model's raw scores and maps, without anomalib's scaling.

    Raises:
        UserError: anomalib is not installed or has no such model, the model has no such argument, its weights
            are not on this machine, or it failed, was killed or took too long.
    """
    refuse_unknown_peer(name)
    if textures is not None and not find_images(textures):
        raise UserError("has no images", where=textures, remedy="name a folder of textures")
    request = {
        "method": name,
        "train": [str(record.image_path.resolve()) for record in train],
        "seed": seed,
        "batch_size": batch_size,
        "settings": dict(settings or {}),
        "textures": None if textures is None else str(textures.resolve()),
        "bits": bits,
        "tile": tile,
        "clock": clock,
        "epochs": epochs,
        "accelerator": accelerator,
    }
    return run_contender(
        "roinspect.comparison.peer_process",
        request,
        [record.image_path for record in test],
        size_hw,
        name=name,
        budget_seconds=budget_seconds,
        limit_seconds=limit_seconds,
        log=log,
        environment={**_OFFLINE, **(environment or {})},
        stop=stop,
    )
