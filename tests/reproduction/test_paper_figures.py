"""Every figure in the tables stands in the papers' texts; their rows are copied here as they are printed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from roinspect.reproduction.catalogue import PAPERS
from roinspect.reproduction.ceod_tables import ENTRIES
from roinspect.reproduction.measures import decisions
from roinspect.reproduction.tables import Table

# GRD-Net 2023, Tables 2 to 4: DRAEM, then GRD-Net; image (pixel).
STAGES = {
    "grdnet-2": """
        Hazelnut 73.1 (55.7) 96.7 (91.0)
        Metal nut 58.3 (49.0) 96.4 (69.3)
        Pill 74.2 (66.0) 77.5 (90.5)""",
    "grdnet-3": """
        Hazelnut 85.3 (82.4) 99.5 (95.5)
        Metal nut 61.8 (49.0) 99.3 (69.3)
        Pill 75.7 (86.5) 89.8 (95.5)""",
    "grdnet-4": """
        Hazelnut 98.8 (94.8) 100.0 (97.3)
        Metal nut 99.7 (86.7) 99.8 (70.4)
        Pill 93.8 (94.8) 98.2 (95.5)""",
}

# Table 5: GANomaly, DRAEM, PaDiM, PatchCore, GRD-Net; PaDiM and PatchCore are printed without brackets.
FINAL = """
    Hazelnut 78.5 (—) 100.0 (95.0) — 97.7 100.0 98.6 100.0 (97.4)
    Metal nut 70.0 (—) 98.7 (86.7) — 96.7 99.7 98.4 100.0 (96.2)
    Pill 74.3 (—) 97.9 (94.8) — 94.7 97.0 97.1 98.5 (95.8)
    Cable 75.7 (—) 91.8 (94.7) — 96.7 99.3 98.2 99.5 (98.1)"""

# Table 1: vanilla and residual at epoch 250, then at epoch 500; training (validation).
LOSSES = r"""
    Adversarial 2.8811×10^{-3} (5.1180×10^{-2}) 3.2498×10^{-4} (3.8928×10^{-3}) 7.4750×10^{-4} (1.3720×10^{-3}) 1.3797×10^{-4} (4.5011×10^{-4})
    Contextual 0.03502 (0.04136) 0.01853 (0.02782) 0.02912 (0.03747) 0.01460 (0.02488)
    Encoder 1.7221×10^{-4} (2.1078×10^{-4}) 6.8905×10^{-5} (1.2333×10^{-4}) 1.1745×10^{-4} (1.6965×10^{-4}) 4.6982×10^{-5} (1.4363×10^{-4})
    SSIM 0.02665 (0.03115) 0.01304 (0.02010) 0.02200 (0.02830) 0.01014 (0.01872)"""  # noqa: E501

# Table 7: AUROC, AUROC pixel, accuracy.
CASES = """
    overlap 99.4 94.3 94.6
    intersection 100.0 95.3 100.0
    intersection_overlap 99.9 91.6 99.1
    outside_overlap 100.0 93.5 100.0"""

# CEOD 2024, Table 1: accuracy, loss and OD of the training, then of the validation.
CURVES = """
    efficientnet_b0-ce 1.000 0.0049 - 0.992 0.022 -
    efficientnet_b0-ceod 0.990 0.005 0.0005 1.00 0.010 0.00032
    customnet-ce 0.999 0.008 - 0.910 0.35 -
    customnet-ceod 0.998 0.010 0.0002 0.960 0.09 0.0003"""

# Section 5.2.1, in the words of the text.
TEST = {
    "efficientnet_b0-ceod": "95.5% accuracy and 0.95 AUCROC; 2h 36m 29s",
    "efficientnet_b0-ce": "93.3% of accuracy and 0.925 AUCROC; 2h 28m 24s",
    "customnet-ceod": "73.3% accuracy and 0.74 AUCROC; 0h 4m 28s",
    "customnet-ce": "48.8% of accuracy and 0.53 AUCROC; 0h 4m 30s",
}


def rows(text: str) -> dict[str, list[float | None]]:
    found = {}
    for line in text.strip().splitlines():
        name, numbers = re.fullmatch(r"\s*([A-Za-z][\w -]*?(?:-ceod|-ce)?)\s+([\d(—-].*)", line).groups()  # type: ignore[union-attr]
        numbers = re.sub(r"×10\^\{(-\d+)\}", r"e\1", numbers)
        found[name.lower().replace(" ", "_") if "-" not in name else name] = [
            None if word in ("—", "-") else float(word) for word in re.sub(r"[()]", " ", numbers).split()
        ]
    return found


def paper(table: Table, entry: str, category: str, measure: str) -> float | None:
    (cell,) = [c for c in table.cells if (c.entry, c.category, c.measure) == (entry, category, measure)]
    return cell.paper


def auroc(table: Table, entry: str, category: str) -> list[float | None]:
    figures = [paper(table, entry, category, measure) for measure in ("image_auroc", "pixel_auroc")]
    return [None if figure is None else round(100 * figure, 4) for figure in figures]


@pytest.mark.parametrize(("name", "epochs"), [("grdnet-2", 10), ("grdnet-3", 50), ("grdnet-4", 100)])
def test_stages(name: str, epochs: int) -> None:
    table, printed = PAPERS[name], rows(STAGES[name])
    assert set(printed) == set(table.categories) == {"hazelnut", "metal_nut", "pill"}
    assert {entry.epochs for entry in table.entries} == {epochs}
    for category, figures in printed.items():
        of_ours = [f"draem-{epochs}", f"grdnet-{epochs}"]
        assert [auroc(table, entry, category) for entry in of_ours] == [figures[:2], figures[2:]]


def test_final() -> None:
    table, printed = PAPERS["grdnet-5"], rows(FINAL)
    assert set(printed) == set(table.categories) == {"hazelnut", "metal_nut", "pill", "cable"}
    assert [entry.label for entry in table.entries] == ["GANomaly", "DRAEM", "PaDiM", "PatchCore", "GRD-Net"]
    for category, figures in printed.items():
        measured = [auroc(table, entry.name, category) for entry in table.entries]
        assert [figure for pair in measured for figure in pair] == figures


def test_losses() -> None:
    table, printed = PAPERS["grdnet-1"], rows(LOSSES)
    assert set(printed) == {"adversarial", "contextual", "encoder", "ssim"}
    for loss, figures in printed.items():
        ours = [
            paper(table, entry.name, "hazelnut", f"{stage}/{loss}@{moment}")
            for moment in ("half", "end")
            for entry in table.entries
            for stage in ("train", "held-out")
        ]
        assert ours == figures
    assert [entry.settings["residual"] for entry in table.entries] == [False, True]
    assert {entry.epochs for entry in table.entries} == {500}


def test_cases() -> None:
    table = PAPERS["grdnet-7"]
    for form, figures in rows(CASES).items():
        (entry,) = [entry for entry in table.entries if entry.settings["roi"] == form]
        accuracy = paper(table, entry.name, "hazelnut", "accuracy_best")
        assert accuracy is not None
        assert [*auroc(table, entry.name, "hazelnut"), round(100 * accuracy, 4)] == figures
        assert auroc(table, entry.name, "zipper") == [None, None]
    assert auroc(table, "grdnet-target-200", "hazelnut") == [None, None]


def test_curves_of_ceod() -> None:
    table = PAPERS["ceod-1"]
    for entry, figures in rows(CURVES).items():
        measures = [
            f"{stage}/{measure}@end"
            for stage in ("train", "held-out")
            for measure in ("accuracy", "loss", "weighted_distance")
        ]
        known = {cell.measure: cell.paper for cell in table.cells if cell.entry == entry}
        assert [known.get(measure) for measure in measures] == figures


def test_test_figures_of_ceod() -> None:
    table = PAPERS["ceod-test"]
    for entry, words in TEST.items():
        accuracy, auroc_printed, *time = re.findall(r"[\d.]+", words)
        shown = paper(table, entry, "zipper", "accuracy_half")
        assert shown is not None and round(100 * shown, 4) == float(accuracy)
        assert paper(table, entry, "zipper", "decision_auroc") == float(auroc_printed)
        hours, minutes, seconds = map(int, time)
        assert paper(table, entry, "zipper", "train_seconds") == 3600 * hours + 60 * minutes + seconds
    assert [(e.settings["backbone"], e.settings.get("omega")) for e in ENTRIES] == [
        ("efficientnet_b0", 0.0),
        ("efficientnet_b0", None),
        ("customnet", 0.0),
        ("customnet", None),
    ]


def test_what_the_page_says_of_ceods_test_set() -> None:
    """The accuracies fit 45 images and no other number below 90; the AUROCs are then those of decisions."""
    accuracies = (933, 955, 488, 733)

    def fits(count: int) -> bool:
        return all(any(1000 * right // count == a for right in range(count + 1)) for a in accuracies)

    assert [count for count in range(1, 90) if fits(count)] == [45]
    # Defective ones caught of 20, good ones accepted of 25, in the order of the accuracies above.
    counts = {(17, 25): 0.925, (18, 25): 0.95, (18, 4): 0.53, (16, 17): 0.74}
    for ((caught, accepted), printed), accuracy in zip(counts.items(), accuracies, strict=True):
        assert 1000 * (caught + accepted) // 45 == accuracy
        labels = np.repeat([1, 0], [20, 25])
        scores = np.repeat([0.9, 0.1, 0.1, 0.9], [caught, 20 - caught, accepted, 25 - accepted])
        found = decisions(scores.astype(np.float32), labels)["decision_auroc"]
        assert found == pytest.approx(printed, abs=1e-9)
