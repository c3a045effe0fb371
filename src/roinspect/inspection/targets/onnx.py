"""ONNX, for ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.files import read_regular
from roinspect.inspection.prediction import OUTPUTS, Predict, Prediction, exported_prediction
from roinspect.inspection.targets.target import Precision, Resources, Source, Target
from roinspect.inspection.threads import cores


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
        lacking = [name for name in providers if name not in available]
        if lacking:
            raise UserError(
                f"this ONNX Runtime has no {', '.join(lacking)}, only {', '.join(available)}",
                where="providers",
                remedy="install a build that has it, such as onnxruntime-gpu, instead of onnxruntime",
            )
        options = onnxruntime.SessionOptions()
        # 0 would pin a thread to each core of the machine, and a container may have only some of them.
        options.intra_op_num_threads = resources.threads or cores()
        # Spinning threads would take cores from the threads that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Errors are raised; other messages on stderr are about things that a user cannot change.
        options.log_severity_level = 4
        preferred = list(dict.fromkeys((*providers, "CPUExecutionProvider")))
        # Only the graph's own file has a checksum. Weights in another one have an entry "location".
        if b"\x0a\x08location" in read_regular(file):
            raise UserError(
                "has weights in files of its own", where=file, remedy="save the graph as one file"
            )
        session = onnxruntime.InferenceSession(file, options, providers=preferred)
        # ONNX Runtime silently skips a provider whose libraries are missing.
        silent = [name for name in providers if name not in session.get_providers()]
        if silent:
            raise UserError(
                f"{', '.join(silent)} could not be started",
                where="providers",
                remedy="install its driver and libraries in the versions that ONNX Runtime requires",
            )
        named = {one.name for one in (*session.get_inputs(), *session.get_outputs())}
        if missing := {"image", *OUTPUTS} - named:
            raise UserError(f"has no {min(missing)}", where=file, remedy="export it again")

        def predict(images: NDArray[np.uint8]) -> Prediction:
            return exported_prediction(session.run(OUTPUTS, {"image": images}))

        return predict
