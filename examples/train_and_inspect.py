"""From photographs to a verdict: synthesise a product, train on its good parts, evaluate, inspect.

python examples/train_and_inspect.py OUT [SIZE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from roinspect import Inspector, TrainingSettings, evaluate, export, train
from roinspect.synthetic.products import write_dataset


def main(out: Path, size: int = 128) -> None:
    """Write OUT/parts, OUT/model and OUT/report."""
    parts, model = out / "parts", out / "model"
    write_dataset("zipper", parts, count=60, seed=0, size_hw=(size, size))

    # The ROI masks are found in parts/roi, with a mask for every photograph.
    bundle = train("roibank", parts, model, training=TrainingSettings(size=str(size)))
    print(f"threshold {bundle.threshold.value:.3f}")

    values = evaluate(model, parts, out / "report")
    print(f"image AUROC {values.image_auroc:.3f}; the report is {out / 'report' / 'report.html'}")

    export(model, "onnx")
    inspector = Inspector.load(model)
    for path in sorted((parts / "test").glob("*/*.png"))[:8]:
        verdict = inspector.inspect(path)
        boxes = [region.box_xyxy for region in verdict.regions]
        print(path.parent.name, verdict.verdict, f"{verdict.pred_score:.3f}", boxes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
