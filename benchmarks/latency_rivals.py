"""anomalib's models as its users deploy them: exported by anomalib, run by its OpenVINOInferencer.

A network's speed depends neither on its weights nor on what it was fitted to. So the weights are random, and
PaDiM's Gaussians and PatchCore's memory are random numbers of the right shapes; everything else is anomalib's
default, including its post-processing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cost import flops

RIVALS = ("draem", "padim", "patchcore", "patchcore-pair")
"""PatchCore's export accepts only the two images that it was traced with: "patchcore-pair". With a fixed
shape it is traced with one image: "patchcore"."""
PHOTOGRAPHS = 200
"""Good parts in PatchCore's memory; its default keeps a tenth of their patches."""


class Rival:
    """An exported model behind anomalib's inferencer.

    Args:
        folder: written by `build`.
        precision: as OpenVINO's INFERENCE_PRECISION_HINT; None leaves it to OpenVINO, as anomalib does.
        threads: as OpenVINO's INFERENCE_NUM_THREADS; None leaves it to OpenVINO.

    Attributes:
        precision: actually used.
    """

    def __init__(self, folder: Path, precision: str | None = None, threads: int | None = None) -> None:
        from anomalib.deploy import OpenVINOInferencer

        # It creates its cache in the working folder.
        before = Path.cwd()
        os.chdir(folder)
        try:
            config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
            config |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
            file = folder / "weights" / "openvino" / "model.xml"
            self._inferencer = OpenVINOInferencer(file, device="CPU", config=config or None)
        finally:
            os.chdir(before)
        hint = self._inferencer.model.get_property("INFERENCE_PRECISION_HINT")
        self.precision = {"f32": "float32", "bf16": "bfloat16"}[hint.get_type_name()]

    def __call__(self, bodies: Sequence[bytes]) -> None:
        """Photographs' bytes to verdicts, in one batch."""
        from PIL import Image

        images = [Image.open(io.BytesIO(body)).convert("RGB") for body in bodies]
        if len(images) == 1:
            labels = self._inferencer.predict(images[0]).pred_label
        else:
            labels = self._inferencer.predict(np.stack([np.asarray(image) for image in images])).pred_label
        assert labels is not None and labels.size == len(bodies)


def build(name: str, size_hw: tuple[int, int], folder: Path) -> float:
    """Export one of anomalib's models below a folder; returns the GFLOP of one image."""
    model = _fitted(name.removesuffix("-pair"), size_hw, folder)
    # As after a validation: without thresholds it gives no verdict.
    values = {"_{}_threshold": 0.5, "{}_min": 0.0, "{}_max": 1.0}
    for place in ("image", "pixel"):
        for buffer, value in values.items():
            getattr(model.post_processor, buffer.format(place)).fill_(value)
    model.eval()
    with torch.inference_mode():
        count = flops(lambda: model(torch.rand(1, 3, *size_hw)))
    is_fixed = name == "patchcore"
    model.to_openvino(folder, input_size=size_hw, onnx_kwargs={"dynamic_axes": {}} if is_fixed else {})
    return count / 1e9


def _fitted(name: str, size_hw: tuple[int, int], folder: Path) -> Any:
    from anomalib.models import Draem, Padim, Patchcore

    from roinspect.comparison.peer_textures import write_textures

    torch.manual_seed(0)
    pixels, parts = size_hw[0] * size_hw[1], {"evaluator": False, "visualizer": False}
    if name == "draem":
        # It needs textures before training, and would download them.
        write_textures(folder / "textures")
        return Draem(
            dtd_dir=folder / "textures", pre_processor=Draem.configure_pre_processor(size_hw), **parts
        )
    if name == "padim":
        padim = Padim(pre_trained=False, pre_processor=Padim.configure_pre_processor(size_hw), **parts)
        places, channels = pixels // 16, padim.model.n_features
        padim.model.gaussian.mean = torch.randn(channels, places)
        padim.model.gaussian.inv_covariance = torch.eye(channels).repeat(places, 1, 1)
        return padim
    patchcore = Patchcore(
        pre_trained=False, pre_processor=Patchcore.configure_pre_processor(size_hw), **parts
    )
    width = sum(patchcore.model.feature_extractor.out_dims)
    patchcore.model.memory_bank = torch.rand(PHOTOGRAPHS * (pixels // 64) // 10, width)
    return patchcore
