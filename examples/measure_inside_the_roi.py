"""`RoiMetrics` on the anomaly maps of any detector, here of two that find the same defects.

Both find the defects inside the region of interest; the second also raises alarms on dirt outside.

python examples/measure_inside_the_roi.py
"""

from __future__ import annotations

import numpy as np

from roinspect import RoiMetrics


def main(parts: int = 40) -> dict[str, int]:
    """Print the measures of both; returns their alarms on dirt outside."""
    rng = np.random.default_rng(0)
    roi_mask = np.zeros((parts, 32, 32), np.uint8)
    roi_mask[:, :, 16:] = 1
    gt_mask = np.zeros_like(roi_mask)
    kind = np.arange(parts) % 3  # good, defective inside, dirty outside only
    gt_mask[kind == 1, 10:16, 20:26] = 1
    gt_mask[kind == 2, 10:16, 4:10] = 1
    alarms = {}
    for name, outside in (("knows where to look", 0.1), ("looks everywhere", 1.0)):
        anomaly_map = 0.2 * rng.random(roi_mask.shape) + gt_mask * np.where(roi_mask, 1, outside)
        metrics = RoiMetrics()
        metrics.update(
            pred_score=anomaly_map.max((1, 2)),
            anomaly_map=anomaly_map,
            label=(kind == 1).astype(int),
            outside_only=kind == 2,
            gt_mask=gt_mask,
            roi_mask=roi_mask,
            category=[("good", "scratch", "dirt")[number] for number in kind],
        )
        values = metrics.compute(threshold=0.5)
        alarms[name] = values.outside_alarms or 0
        print(
            f"{name}: pixel AUROC inside the ROI {values.pixel_auroc:.3f}, alarms on dirt outside "
            f"{alarms[name]} of {values.outside_only_parts}"
        )
    return alarms


if __name__ == "__main__":
    main()
