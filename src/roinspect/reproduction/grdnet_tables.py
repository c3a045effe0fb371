"""Tables 1 to 5 and 7 of Ferrari, Fraccaroli, Lamma: *GRD-Net*, 2023."""

from __future__ import annotations

from roinspect.reproduction.tables import Cell, Entry, Table

PAPER = "GRD-Net 2023"

GOOD_ONLY = (
    "The paper gives no batch size; it is 8 here.",
    "15 % of the good training photographs are held out, for the plateaus of the learning rate and the "
    "threshold; the paper does not say what its validation losses are measured on.",
    "MVTec AD has no regions of interest: the whole photograph is inspected.",
)
RIVALS = (
    "DRAEM, GANomaly, PaDiM and PatchCore are anomalib's, with the paper's number of epochs; DRAEM and "
    "GANomaly were trained again by the paper's authors, PaDiM's and PatchCore's figures are those of their "
    "own papers.",
    "DRAEM's textures are synthetic unless --textures names the DTD data set.",
)

# Per cent, as printed: image and pixel AUROC of DRAEM, then of GRD-Net.
STAGES: dict[int, dict[str, tuple[float, float, float, float]]] = {
    10: {
        "hazelnut": (73.1, 55.7, 96.7, 91.0),
        "metal_nut": (58.3, 49.0, 96.4, 69.3),
        "pill": (74.2, 66.0, 77.5, 90.5),
    },
    50: {
        "hazelnut": (85.3, 82.4, 99.5, 95.5),
        "metal_nut": (61.8, 49.0, 99.3, 69.3),
        "pill": (75.7, 86.5, 89.8, 95.5),
    },
    100: {
        "hazelnut": (98.8, 94.8, 100.0, 97.3),
        "metal_nut": (99.7, 86.7, 99.8, 70.4),
        "pill": (93.8, 94.8, 98.2, 95.5),
    },
}

# Per cent, as printed: image and pixel AUROC, None where the paper has a dash.
FINAL: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "hazelnut": {
        "ganomaly": (78.5, None),
        "draem": (100.0, 95.0),
        "padim": (None, 97.7),
        "patchcore": (100.0, 98.6),
        "grdnet": (100.0, 97.4),
    },
    "metal_nut": {
        "ganomaly": (70.0, None),
        "draem": (98.7, 86.7),
        "padim": (None, 96.7),
        "patchcore": (99.7, 98.4),
        "grdnet": (100.0, 96.2),
    },
    "pill": {
        "ganomaly": (74.3, None),
        "draem": (97.9, 94.8),
        "padim": (None, 94.7),
        "patchcore": (97.0, 97.1),
        "grdnet": (98.5, 95.8),
    },
    "cable": {
        "ganomaly": (75.7, None),
        "draem": (91.8, 94.7),
        "padim": (None, 96.7),
        "patchcore": (99.3, 98.2),
        "grdnet": (99.5, 98.1),
    },
}

# Losses as printed: training and validation of the vanilla autoencoder, then of the residual one.
LOSSES: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "half": {
        "adversarial": (2.8811e-3, 5.1180e-2, 3.2498e-4, 3.8928e-3),
        "contextual": (0.03502, 0.04136, 0.01853, 0.02782),
        "encoder": (1.7221e-4, 2.1078e-4, 6.8905e-5, 1.2333e-4),
        "ssim": (0.02665, 0.03115, 0.01304, 0.02010),
    },
    "end": {
        "adversarial": (7.4750e-4, 1.3720e-3, 1.3797e-4, 4.5011e-4),
        "contextual": (0.02912, 0.03747, 0.01460, 0.02488),
        "encoder": (1.1745e-4, 1.6965e-4, 4.6982e-5, 1.4363e-4),
        "ssim": (0.02200, 0.02830, 0.01014, 0.01872),
    },
}

# Per cent, as printed: image AUROC, pixel AUROC, accuracy.
CASES: dict[str, tuple[float, float, float]] = {
    "overlap": (99.4, 94.3, 94.6),
    "intersection": (100.0, 95.3, 100.0),
    "intersection_overlap": (99.9, 91.6, 99.1),
    "outside_overlap": (100.0, 93.5, 100.0),
}


def _share(per_cent: float | None) -> float | None:
    return None if per_cent is None else round(per_cent / 100, 6)


def _auroc(entry: str, category: str, image: float | None, pixel: float | None) -> tuple[Cell, Cell]:
    return (
        Cell(entry, category, "image_auroc", _share(image)),
        Cell(entry, category, "pixel_auroc", _share(pixel)),
    )


def _stage(number: int, epochs: int, remark: str = "") -> Table:
    draem = Entry(f"draem-{epochs}", "DRAEM", "draem", epochs=epochs)
    grdnet = Entry(f"grdnet-{epochs}", "GRD-Net", "grdnet", epochs=epochs)
    cells = list[Cell]()
    for category, figures in STAGES[epochs].items():
        cells += _auroc(draem.name, category, *figures[:2])
        cells += _auroc(grdnet.name, category, *figures[2:])
    return Table(
        f"grdnet-{number}",
        f"AUROC after {epochs} epochs",
        f"{PAPER}, Table {number}",
        "mvtec",
        (draem, grdnet),
        tuple(cells),
        (*([remark] if remark else []), *GOOD_ONLY, *RIVALS),
    )


def _final() -> Table:
    entries = (
        Entry("ganomaly-200", "GANomaly", "ganomaly", epochs=200),
        Entry("draem-200", "DRAEM", "draem", epochs=200),
        Entry("padim-resnet18", "PaDiM", "padim", {"backbone": "resnet18"}),
        Entry("patchcore-resnet50", "PatchCore", "patchcore", {"backbone": "resnet50"}),
        Entry("grdnet-200", "GRD-Net", "grdnet", epochs=200),
    )
    cells = [
        cell
        for category, figures in FINAL.items()
        for entry in entries
        for cell in _auroc(entry.name, category, *figures[entry.method])
    ]
    remark = "GANomaly has no map, hence no pixel AUROC."
    return Table(
        "grdnet-5",
        "AUROC after 200 epochs, beside other methods",
        f"{PAPER}, Table 5",
        "mvtec",
        entries,
        tuple(cells),
        (remark, *GOOD_ONLY, *RIVALS),
    )


def _losses() -> Table:
    entries = (
        Entry("grdnet-vanilla-500", "vanilla", "grdnet", {"residual": False}, 500),
        Entry("grdnet-residual-500", "residual", "grdnet", {"residual": True}, 500),
    )
    cells = list[Cell]()
    for moment, losses in LOSSES.items():
        for loss, figures in losses.items():
            for place, entry in enumerate(entries):
                for stage, paper in zip(("train", "held-out"), figures[2 * place :], strict=False):
                    cells.append(Cell(entry.name, "hazelnut", f"{stage}/{loss}@{moment}", paper))
    return Table(
        "grdnet-1",
        "Losses of the generator with a vanilla and a residual autoencoder, after 250 and 500 epochs",
        f"{PAPER}, Table 1",
        "mvtec",
        entries,
        tuple(cells),
        (
            "The paper's figures are of its own photographs of vials, which are not public; here it is "
            "hazelnut. Compare the order of the two autoencoders, not the values.",
            "The paper trains the generator alone. Here the segmenter is trained too, which changes nothing "
            "for the generator: no gradient passes from one to the other.",
            *GOOD_ONLY,
        ),
    )


def _cases() -> Table:
    number = {form: place for place, form in enumerate(CASES, 1)}
    entries = [
        Entry(f"grdnet-{form}-200", f"case {number[form]}: {form}", "grdnet", {"roi": form}, 200)
        for form in CASES
    ]
    entries.append(Entry("grdnet-target-200", "target, our default", "grdnet", {"roi": "target"}, 200))
    cells = list[Cell]()
    for category in ("hazelnut", "zipper"):
        for entry in entries:
            # The paper prints one product, and says that the other is similar.
            printed = CASES.get(entry.settings["roi"]) if category == "hazelnut" else None
            figures = printed or (None, None, None)
            cells += _auroc(entry.name, category, *figures[:2])
            cells.append(Cell(entry.name, category, "accuracy_best", _share(figures[2])))
    return Table(
        "grdnet-7",
        "Forms of the segmenter's loss, with a region of interest",
        f"{PAPER}, Table 7",
        "mvtec",
        tuple(entries),
        tuple(cells),
        (
            "The caption says 200 epochs and the head 100; it is 200 here.",
            "The paper does not name the product; section 4.4.2 adds that zipper is similar, so the figures "
            "are taken for hazelnut's.",
            "The paper does not say at which threshold its accuracy is measured. Here it is the highest of "
            "any threshold on the test photographs, so it is an upper limit.",
            "The paper's regions are not published; those of the recipe are used, and measures count only "
            "what lies inside them.",
            *GOOD_ONLY[:2],
        ),
        needs_roi=True,
    )


TABLES = (
    _losses(),
    _stage(2, 10),
    _stage(3, 50, "The caption says 35 epochs and the text 50; it is 50 here."),
    _stage(4, 100),
    _final(),
    _cases(),
)
