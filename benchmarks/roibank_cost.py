"""What roibank costs: time to fit, and images a second next to anomalib's PaDiM, PatchCore and MH-PatchCore.

Through OpenVINO each contender turns a photograph's bytes into a verdict, as its users deploy it.
MH-PatchCore is compared in torch, on decoded images. Speed does not depend on weights, so PaDiM and PatchCore
have random ones of anomalib's defaults. Nothing else should run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import torch
from cost import convolution, flops, timed
from latency_rivals import Rival, build

from roinspect import Inspector
from roinspect.cli import main
from roinspect.comparison.peer_process import build_model, data_module, model_class
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.images.pixels import parse_size
from roinspect.methods.loading import load_graph
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

if TYPE_CHECKING:
    from roibank import Set

ROUNDS, SECONDS, FITTED, SHOWN = 5, 2.0, 40, 20
"""Turns, length of one, photographs that MH-PatchCore is fitted to, and photographs that are inspected."""


def measured(one: Set) -> dict[str, Any]:
    """Fit, export, and take turns on all cores.

    Returns:
        Seconds, GFLOP of an image, share of the machine's convolution rate, images a second of each
        contender, and which of ours it is compared with.
    """
    size_hw = parse_size(one.size)
    data = read_data(one.data, one.roi)
    records = attach_roi(data, [record for record in data.split("train") if record.label == 0])
    with tempfile.TemporaryDirectory() as place, DecodedCache(records, size_hw) as cache:
        folder, bundle = Path(place), Path(place, "bundle")
        start, cpu = time.perf_counter(), time.process_time()
        settings = RoiBankSettings(known_defects=False)
        train(
            "roibank",
            one.data,
            bundle,
            method_settings=settings,
            training=TrainingSettings(size=one.size),
            roi=one.roi,
        )
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        if main(["export", str(bundle), "--to", "openvino"]):
            raise RuntimeError("the export was rejected")
        images = cache.images[:SHOWN]
        bodies = [
            cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes()
            for image in images
        ]
        tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in images]
        graph = load_graph(bundle)[1].eval()
        with torch.inference_mode():
            count = flops(lambda: graph(tensors[0]))
        work = convolution()
        conv_flops = flops(work)
        inspect = Inspector.load(bundle, "openvino").inspect
        contenders = {"roibank, OpenVINO": _each(inspect, bodies)}
        for name, title in (("padim", "PaDiM"), ("patchcore", "PatchCore, WideResNet-50")):
            build(name, size_hw, folder / name)
            rival = Rival(folder / name)
            contenders[f"{title}, OpenVINO"] = _each(lambda body, rival=rival: rival([body]), bodies)
        contenders["roibank, torch"] = _each(graph, tensors)
        contenders["MH-PatchCore, lite0, torch"] = _each(_mh_patchcore(cache, size_hw), tensors)
        rates: dict[str, list[float]] = {title: [] for title in contenders}
        peaks = []
        with torch.inference_mode():
            for round_ in range(ROUNDS + 1):
                for title, contender in contenders.items():
                    done, began = 0, time.perf_counter()
                    while time.perf_counter() - began < SECONDS or not done:
                        contender()
                        done += SHOWN
                    # The first round warms up.
                    if round_:
                        rates[title].append(done / (time.perf_counter() - began))
                with torch.inference_mode(False), torch.enable_grad():
                    peaks.append(conv_flops / timed(work))
    medians = {title: statistics.median(values) for title, values in rates.items()}
    return {
        "images": len(records),
        "fit_seconds": seconds,
        "fit_cpu_seconds": cpu_seconds,
        "gflop": count / 1e9,
        "share_of_peak": count * medians["roibank, OpenVINO"] / statistics.median(peaks[1:]),
        "rates": medians,
        "against": {
            title: "roibank, torch" if "torch" in title else "roibank, OpenVINO" for title in medians
        },
    }


def _each(work: Callable[[Any], object], items: list[Any]) -> Callable[[], object]:
    def run() -> None:
        for item in items:
            work(item)

    return run


def _mh_patchcore(cache: DecodedCache, size_hw: tuple[int, int]) -> Callable[[torch.Tensor], object]:
    from anomalib.engine import Engine

    model, _ = build_model(model_class("mh_patchcore"), size_hw, {}, 0)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(
            default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
        )
        engine.fit(model=model, datamodule=data_module(cache.images[:FITTED], 8))
    return model.eval()
