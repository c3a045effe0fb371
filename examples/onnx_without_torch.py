"""Inspect a folder with an exported model and without torch, as on the line.

python examples/onnx_without_torch.py MODEL FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from roinspect import Inspector


def main(model: Path, folder: Path) -> None:
    """Print a line for each photograph; a part passes only if its verdict is "good"."""
    inspector = Inspector.load(model, "onnxruntime")
    for verdict in inspector.inspect_many(sorted(folder.iterdir())):
        if verdict.error is not None:
            print(verdict.image_path, "not read:", verdict.error)
        elif verdict.verdict == "good":
            print(verdict.image_path, "pass")
        else:
            print(verdict.image_path, "reject:", verdict.reason or f"score {verdict.pred_score:.3f}")
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
