"""Two looks: recall by the size of defects in photographs of 5 megapixels, and what looking closely costs.

    python benchmarks/resolution.py recall     # trains on synthetic zippers; continues where it stopped
    python benchmarks/resolution.py recall --product vials    # the same on vials
    python benchmarks/resolution.py rivals     # anomalib's Tiler on the same; needs roinspect[peers,weights]
    python benchmarks/resolution.py real       # photographs of bottles, whole and in tiles
    python benchmarks/resolution.py cost       # time and memory by region and photograph; nothing else runs
    python benchmarks/resolution.py agree      # verdicts beside those of the same networks with all tiles
    python benchmarks/resolution.py --tables   # puts the results into docs/tiles.md

The products are drawn at 2,448 x 2,048 pixels, and their defects are 6 to 40 pixels wide (`defect_width`).
All candidates are trained on the same 48 good photographs with roibank's defaults, and tested on the others
through OpenVINO. *Tiles everywhere* is trained and inspects without a region. A recall is the share of
defective photographs that score above all good ones, so that none of these is rejected.

The rivals look through anomalib's `Tiler` in tiles of 256 at half the resolution, and their score is the
highest value inside the drawn region. At the whole resolution PaDiM's covariances alone, 100 x 100 for each
of 612 x 512 places, would need 12.5 GB, and as much again for their inverses.

*cost* inspects JPEG files, of which the smallest share of the region is a rectangle in the middle. The
network of *tiles in the region* looks at them, and each measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from results import NotMeasuredError, Results, where
from tables import markdown, put

from roinspect import Inspector
from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.exported import close_graph_file, graph_file
from roinspect.inspection.looks import Looks
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.target import Resources
from roinspect.inspection.tiles import cover

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("resolution")
DOCS = ROOT / "docs" / "tiles.md"
WORK = (
    Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
    / "resolution"
)
SIZE, WIDTHS = (2448, 2048), (6.0, 40.0)
SETS = {"train": (80, 7), "more": (100, 8)}
"""Number of images and seed; the test photographs are those of the test split of the first and all others."""
BINS = ((6.0, 12.0), (12.0, 20.0), (20.0, 50.0))


class Candidate(NamedTuple):
    """What is trained, on photographs with the ROI `roi`."""

    title: str
    training: Mapping[str, Any]
    roi: str = "auto"


CANDIDATES = {
    "whole-256": Candidate("whole photograph at 256", {"size": "256"}),
    "whole-512": Candidate("whole photograph at 512", {"size": "512"}),
    "whole-1024": Candidate("whole photograph at 1,024", {"size": "1024"}),
    "tiles-half": Candidate("tiles in the region, scale 0.5", {"tile": 256, "scale": 0.5}),
    "tiles": Candidate("tiles in the region", {"tile": 256}),
    "everywhere": Candidate("tiles everywhere", {"tile": 256}, "none"),
}
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "padim": ("PaDiM, anomalib's Tiler, scale 0.5, true region", {}),
    "patchcore": (
        "PatchCore 0.1 %, anomalib's Tiler, scale 0.5, true region",
        {"coreset_sampling_ratio": 0.001},
    ),
}
PRODUCTS = ("zipper", "vials")
MEGAPIXELS = {1: (1024, 1024), 5: (2448, 2048), 20: (4896, 4080)}
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
ROUNDS = 5


# -- recall --------------------------------------------------------------------------------------------------


def folder_of(product: str) -> Path:
    return WORK if product == PRODUCTS[0] else WORK / product


def generate(product: str) -> None:
    from roinspect.synthetic.products import write_dataset

    for name, (count, seed) in SETS.items():
        out = folder_of(product) / name
        if not out.is_dir():
            write_dataset(product, out, count=count, seed=seed, size_hw=SIZE, defect_pixels=WIDTHS)


def test_records(product: str) -> list[Any]:
    from roinspect.data.reading import read_data
    from roinspect.data.roi import attach_roi

    records = []
    for name in SETS:
        data = read_data(folder_of(product) / name)
        records += attach_roi(data, data.split("test") if name == "train" else data.records)
    return records


def letter(sample: Any) -> str:
    """What a photograph is: d with a defect inside the region, o with one only outside, g good."""
    return "d" if sample.label == 1 else "g" if sample.place == "none" else "o"


def trained(one: Candidate, data: Path, roi: str, bundle: Path) -> float:
    """Train roibank's defaults on good photographs; returns the seconds that it took."""
    from roinspect.methods.roibank_settings import RoiBankSettings
    from roinspect.training.settings import TrainingSettings
    from roinspect.training.train import train

    settings, training = RoiBankSettings(known_defects=False), TrainingSettings(**one.training)
    start = time.perf_counter()
    train("roibank", data, bundle, method_settings=settings, training=training, roi=roi, overwrite=True)
    return time.perf_counter() - start


def measure_recall(names: Sequence[str], product: str) -> None:
    # None of this is imported where only memory is measured: a line needs no torch.
    from roinspect.cli import main as run_command
    from roinspect.data.dataset import load_sample
    from roinspect.data.width import defect_width

    generate(product)
    for name in names:
        one, settings = CANDIDATES[name], recall_settings(name, product)
        if RESULTS.has(settings, 0):
            continue
        bundle = folder_of(product) / f"{name}.model"
        seconds = trained(one, folder_of(product) / "train", one.roi, bundle)
        print(f"{name}: trained in {seconds:.0f} s", flush=True)
        if run_command(["export", str(bundle), "--to", "openvino"]):
            raise RuntimeError("the export was rejected")
        inspector = Inspector.load(bundle, "openvino")
        scores, kinds, widths, took, tiles = [], "", [], [], []
        for record in test_records(product):
            sample = load_sample(record, None)
            begin = time.perf_counter()
            verdict = inspector.inspect(sample.image)
            took.append(time.perf_counter() - begin)
            scores.append(float(f"{verdict.pred_score:.5g}"))
            kinds += letter(sample)
            widths.append(round(defect_width(sample.gt_mask, sample.roi_mask), 1))
            if inspector.bundle.tiles is not None:
                tiles.append(len(inspector._looks.tiles(sample.image)))
        threshold = inspector.threshold
        measures = {
            "scores": scores,
            "kinds": kinds,
            "widths": widths,
            "threshold": threshold,
            "fit_seconds": seconds,
            "inference_ms": 1000 * statistics.median(took),
            "tiles": statistics.mean(tiles) if tiles else 0.0,
        }
        RESULTS.append(settings, measures, seed=0, packages=["openvino"])
        print(name, threshold, seconds, measures["inference_ms"], measures["tiles"], flush=True)


def recall_settings(name: str, product: str) -> dict[str, Any]:
    """What identifies a candidate's run; those on zippers do not name their product."""
    return {"verb": "recall", "candidate": name} | ({} if product == PRODUCTS[0] else {"product": product})


def measure_rivals(product: str) -> None:
    """The highest value of each map inside the drawn region; there is no threshold for it."""
    from roinspect.comparison.peers import run_peer
    from roinspect.data.dataset import load_sample
    from roinspect.data.reading import read_data
    from roinspect.data.width import defect_width

    generate(product)
    data = read_data(folder_of(product) / "train")
    train = [record for record in data.split("train") if record.label == 0]
    test = test_records(product)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    for name, (_, given) in RIVALS.items():
        settings = recall_settings(name, product)
        if RESULTS.has(settings, 0):
            continue
        scored = run_peer(
            name,
            train,
            test,
            half,
            tile=256,
            settings=given,
            batch_size=1,
            log=folder_of(product) / f"{name}.log",
            limit_seconds=7200,
        )
        assert scored.anomaly_map is not None
        scores, kinds, widths = [], "", []
        for record, anomaly_map in zip(test, scored.anomaly_map, strict=True):
            sample = load_sample(record, None)
            inside = resize_image(sample.roi_mask.astype(np.float32), half) >= 0.5
            scores.append(float(f"{anomaly_map[inside].max():.5g}"))
            kinds += letter(sample)
            widths.append(round(defect_width(sample.gt_mask, sample.roi_mask), 1))
        tiles = math.ceil(half[0] / 256) * math.ceil(half[1] / 256)
        measures = {
            "scores": scores,
            "kinds": kinds,
            "widths": widths,
            "threshold": None,
            "fit_seconds": scored.cost.train_seconds,
            "inference_ms": scored.cost.inference_ms,
            "tiles": tiles,
            "peak_mb": (scored.cost.peak_bytes or 0) / 2**20,
        }
        RESULTS.append(settings, measures, seed=0, packages=["anomalib"])
        print(name, measures["fit_seconds"], measures["inference_ms"], measures["peak_mb"], flush=True)


def recall_table(product: str = PRODUCTS[0]) -> str:
    found = {
        run.settings["candidate"]: run
        for run in RESULTS.read(verb="recall")
        if run.settings.get("product", PRODUCTS[0]) == product
    }
    titles = {name: one.title for name, one in CANDIDATES.items()}
    titles |= {name: title for name, (title, _) in RIVALS.items()}
    if not found:
        raise NotMeasuredError
    rows, runs = [], [found[name] for name in titles if name in found]
    for run in runs:
        m = run.measures
        scores, widths = np.array(m["scores"]), np.array(m["widths"])
        letters = np.array(list(m["kinds"]))
        limit = scores[letters == "g"].max()
        cells = []
        for low, high in BINS:
            some = (letters == "d") & (widths >= low) & (widths < high)
            cells.append(f"{int((scores[some] > limit).sum())} of {int(some.sum())}")
        if m["threshold"] is None:
            cells += ["–"] * 3
        else:
            own = scores >= m["threshold"]
            cells += [f"{int(own[letters == one].sum())} of {int((letters == one).sum())}" for one in "dgo"]
        cells += [
            f"{m['tiles']:.0f}" if m["tiles"] else "–",
            f"{m['inference_ms']:.0f}",
            f"{m['fit_seconds']:.0f}",
        ]
        rows.append([titles[run.settings["candidate"]], *cells])
    heads = ["looked at", *(f"recall, {low:g} to {high:g} px" for low, high in BINS)]
    heads += ["at its own threshold: caught", "good rejected", "alarms on damage outside", "tiles", "ms"]
    return f"{markdown([*heads, 'training, s'], rows)}\n\n{where(runs)}"


# -- real photographs ----------------------------------------------------------------------------------------

IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
BOTTLE, MAGNETIC_TILE = IMAGES / "bottle", IMAGES / "magnetic_tile"
RIM = str(BOTTLE / "roi_rim_right.png")
REAL = {
    "whole-256": (BOTTLE, Candidate("bottles, whole photograph at 256", {"size": "256"}, RIM)),
    "whole-448": (BOTTLE, Candidate("bottles, whole photograph at 448", {"size": "448"}, RIM)),
    "tiles": (BOTTLE, Candidate("bottles, tiles of 256 in the region", {"tile": 256}, RIM)),
    "magnetic-256": (MAGNETIC_TILE, Candidate("magnetic tiles, whole photograph at 256", {"size": "256"})),
    "magnetic-tiles": (MAGNETIC_TILE, Candidate("magnetic tiles, tiles of 96 in the region", {"tile": 96})),
}
MEASURES = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95")


def measure_real() -> None:
    """Right halves of bottles' rims, 450 x 450 pixels; magnetic tiles, each of its own size, 114 to 620."""
    from roinspect.evaluation.evaluate import evaluate

    for name, (data, one) in REAL.items():
        settings = {"verb": "real", "candidate": name}
        if RESULTS.has(settings, 0):
            continue
        bundle = WORK / f"real-{name}.model"
        seconds = trained(one, data, one.roi, bundle)
        values = evaluate(bundle, data, WORK / f"real-{name}.evaluation", roi=one.roi).to_dict()
        measures = {
            key: values[key] for key in (*MEASURES, "defective_parts", "good_parts", "outside_only_parts")
        }
        measures |= {key: values[key] for key in ("escapes", "good_rejects", "outside_alarms")}
        RESULTS.append(settings, {**measures, "fit_seconds": seconds}, seed=0)
        print(name, measures, seconds, flush=True)


def real_table() -> str:
    runs = [run for name in REAL for run in RESULTS.read(verb="real", candidate=name)]
    if not runs:
        raise NotMeasuredError
    rows = []
    for run in runs:
        m = run.measures
        rows.append(
            [
                REAL[run.settings["candidate"]][1].title,
                *("–" if m[key] is None else f"{m[key]:.3f}" for key in MEASURES),
                f"{m['defective_parts'] - m['escapes']} of {m['defective_parts']}",
                f"{m['good_rejects']} of {m['good_parts']}",
                f"{m['outside_alarms']} of {m['outside_only_parts']}",
            ]
        )
    heads = ["looked at", "image AUROC", "pixel AUROC", "AUPRO", "outside alarms at 95 % recall"]
    heads += ["at its own threshold: caught", "good rejected", "alarms on damage outside"]
    return f"{markdown(heads, rows)}\n\n{where(runs)}"


# -- agreement -----------------------------------------------------------------------------------------------


def measure_agreement() -> None:
    """The same bundle with tiles over the region, and with tiles over the whole photograph."""
    import roinspect.inspection.looks as module
    from roinspect.data.dataset import load_sample

    inspector = Inspector.load(WORK / "tiles.model", "openvino")
    pairs, seconds = [], [0.0, 0.0]
    for record in test_records(PRODUCTS[0]):
        pixels, verdicts = load_sample(record, None).image, []
        for all_of_it in (0, 1):
            setattr(module, "cover", _everywhere if all_of_it else cover)  # noqa: B010
            begin = time.perf_counter()
            verdicts.append(inspector.inspect(pixels))
            seconds[all_of_it] += time.perf_counter() - begin
        pairs.append([float(f"{verdict.pred_score:.5g}") for verdict in verdicts])
    setattr(module, "cover", cover)  # noqa: B010
    measures = {"scores": pairs, "threshold": inspector.threshold, "seconds": seconds}
    RESULTS.append({"verb": "agree"}, measures, seed=0, packages=["openvino"])


def _everywhere(region: NDArray[np.bool_], size_hw: tuple[int, int], side: int) -> NDArray[np.int64]:
    return cover(np.ones_like(region), size_hw, side)


def agree_table() -> str:
    run = RESULTS.latest(verb="agree")
    scores, threshold = np.array(run.measures["scores"]), run.measures["threshold"]
    rejected = scores >= threshold
    differ = np.abs(scores[:, 0] / scores[:, 1] - 1)
    over_region, over_all = run.measures["seconds"]
    same = int((rejected[:, 0] == rejected[:, 1]).sum())
    return (
        f"Of {len(scores)} photographs {same} get the same verdict as with tiles over the whole photograph, "
        f"in {over_region / over_all:.0%} of the time. Scores differ by {np.median(differ):.1%} (median) and "
        f"{differ.max():.1%} at most, as the tiles lie elsewhere.\n\n{where([run])}"
    )


# -- cost ----------------------------------------------------------------------------------------------------


def measure_cost() -> None:
    for megapixels in MEGAPIXELS:
        for share in SHARES:
            for kind in ("jpg", "png") if share == SHARES[1] else ("jpg",):
                settings = {"verb": "cost", "megapixels": megapixels, "share": share, "file": kind}
                words = [sys.executable, __file__, "--here", str(megapixels), str(share), kind]
                answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                measures = json.loads(answer.splitlines()[-1])
                RESULTS.append(settings, measures, seed=0, packages=["openvino"])
                print(settings, measures, flush=True)


def cost_here(megapixels: int, share: float, kind: str) -> dict[str, Any]:
    """Time and peak memory of this process; the region is a rectangle in the middle of the photograph."""
    size_hw, bundle = MEGAPIXELS[megapixels], WORK / "tiles.model"
    (file,) = sorted((WORK / "more" / "test" / "good").glob("*.png"))[:1]
    pixels = resize_image(read_image(file), size_hw)
    content = cv2.imencode(f".{kind}", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    del pixels
    manifest = read_bundle(bundle)
    assert manifest.tiles is not None
    manifest = replace(manifest, tiles=replace(manifest.tiles, smallest_hw=size_hw, largest_hw=size_hw))
    target = TARGETS["openvino"]
    coarse = target.load(graph_file(bundle, "openvino"), Resources())
    close = target.load(close_graph_file(bundle, "openvino"), Resources())

    def framed(images: NDArray[np.uint8]) -> Prediction:
        """The coarse look, with a region of a known share."""
        found = coarse(images)
        region = np.zeros_like(found.roi_map)
        height, width = region.shape[1:]
        down, across = (round(side * share**0.5 / 2) for side in (height, width))
        region[:, height // 2 - down : height // 2 + down, width // 2 - across : width // 2 + across] = 1
        return found._replace(roi_map=region)

    inspector = Inspector(manifest, framed, "openvino", close=close)
    inspector.inspect(content)
    decoding, took = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        read_image(content)
        decoding.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        inspector.inspect(content)
        took.append(time.perf_counter() - begin)
    return {
        "ms": 1000 * statistics.median(took),
        "decode_ms": 1000 * statistics.median(decoding),
        "tiles": len(Looks(manifest, framed, close).tiles(read_image(content))),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def cost_table() -> str:
    runs = RESULTS.read(verb="cost")
    if not runs:
        raise NotMeasuredError
    rows = [
        [
            f"{run.settings['megapixels']}",
            f"{run.settings['share']:.0%}",
            run.settings["file"].upper(),
            f"{run.measures['tiles']}",
            f"{run.measures['ms']:.0f}",
            f"{run.measures['decode_ms']:.0f}",
            f"{run.measures['peak_mb']:.0f}",
        ]
        for run in runs
    ]
    heads = ["megapixels", "region", "file", "tiles", "ms", "of which decoding", "peak memory, MB"]
    return f"{markdown(heads, rows)}\n\n{where(runs)}"


TABLES = {
    "recall": recall_table,
    "vials": partial(recall_table, "vials"),
    "real": real_table,
    "agree": agree_table,
    "cost": cost_table,
}

if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("recall", "rivals", "real", "agree", "cost"))
    parser.add_argument("candidates", nargs="*", metavar="candidate", help=", ".join(CANDIDATES))
    parser.add_argument("--product", choices=PRODUCTS, default=PRODUCTS[0])
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        megapixels, share, kind = arguments.here
        print(json.dumps(cost_here(int(megapixels), float(share), kind)))
    elif arguments.verb == "recall":
        measure_recall(arguments.candidates or tuple(CANDIDATES), arguments.product)
    elif arguments.verb == "rivals":
        measure_rivals(arguments.product)
    elif arguments.verb == "real":
        measure_real()
    elif arguments.verb == "agree":
        measure_agreement()
    elif arguments.verb == "cost":
        measure_cost()
    if arguments.tables:
        put(DOCS, TABLES)
