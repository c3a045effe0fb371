"""ONNX, for ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection.prediction import OUTPUTS, Predict, Prediction, exported_prediction
from roinspect.inspection.targets.target import Precision, Resources, Source, Target


class Onnx(Target):
    """See `Target`."""

    runtime = "onnxruntime"
    files = ("graph.onnx",)
    has_providers = True

    def write(self, source: Source, file: Path) -> None:
        """See `Target.write`."""
        shutil.copyfile(source.onnx_file(), file)

    def load(self, file: Path, resources: Resources, precision: Precision = "float32") -> Predict:
        """See `Target.load`."""
        import onnxruntime

        providers, available = resources.providers, onnxruntime.get_available_providers()
        missing = [name for name in providers if name not in available]
        if missing:
            raise UserError(
                f"this ONNX Runtime has no {', '.join(missing)}, only {', '.join(available)}",
                where="providers",
                remedy="install a build that has it, such as onnxruntime-gpu, instead of onnxruntime",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = resources.threads or 0
        # Spinning threads would take cores from the threads that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Errors are raised; other messages on stderr are about things that a user cannot change.
        options.log_severity_level = 4
        preferred = list(dict.fromkeys((*providers, "CPUExecutionProvider")))
        session = onnxruntime.InferenceSession(file, options, providers=preferred)
        # ONNX Runtime silently skips a provider whose libraries are missing.
        silent = [name for name in providers if name not in session.get_providers()]
        if silent:
            raise UserError(
                f"{', '.join(silent)} could not be started",
                where="providers",
                remedy="install its driver and libraries in the versions that ONNX Runtime requires",
            )

        def predict(images: NDArray[np.uint8]) -> Prediction:
            return exported_prediction(session.run(OUTPUTS, {"image": images}))

        return predict
