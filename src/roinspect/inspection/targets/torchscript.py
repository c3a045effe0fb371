"""TorchScript, for `torch.jit.load` and LibTorch."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.inspection.prediction import Predict, Prediction, exported_prediction
from roinspect.inspection.targets.target import NotInstalledError, Precision, Resources, Source, Target


class TorchScript(Target):
    """See `Target`."""

    runtime = "torchscript"
    files = ("graph.pt",)
    extra = "train"
    is_automatic = False
    precisions = frozenset({"float32"})

    def write(self, source: Source, file: Path) -> None:
        """See `Target.write`."""
        import torch

        example = torch.zeros((2, *source.size_hw, 3), dtype=torch.uint8)
        with torch.no_grad():
            traced = torch.jit.trace(source.module, (example,), check_trace=False)
            # If torch wrote the file itself, a full disk would kill the process.
            buffer = io.BytesIO()
            torch.jit.save(torch.jit.freeze(traced), buffer)
            file.write_bytes(buffer.getbuffer())

    def load(self, file: Path, resources: Resources, precision: Precision = "float32") -> Predict:
        """See `Target.load`."""
        try:
            import torch
        except ImportError:
            raise NotInstalledError("torch", "train") from None
        if resources.threads:
            torch.set_num_threads(resources.threads)
        with warnings.catch_warnings():
            # TorchScript is deprecated; every call warns.
            warnings.simplefilter("ignore")
            graph = torch.jit.load(file, map_location="cpu")

        def predict(images: NDArray[np.uint8]) -> Prediction:
            with torch.inference_mode():
                return exported_prediction([values.numpy() for values in graph(torch.from_numpy(images))])

        return predict
