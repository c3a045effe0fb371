"""The results of `latency.py` as the tables of docs/speed.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from latency_models import SIZES
from tables import markdown, put

GOALS = (("grdnet", "draem", 20), ("roibank", "patchcore", 5), ("roibank", "padim", 2))
SHARE, STARTUP_S = 0.5, 1.0
ENGINES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
TITLES = {
    "draem": "anomalib DRAEM",
    "padim": "anomalib PaDiM",
    "patchcore": "anomalib PatchCore, traced with one image",
    "patchcore-pair": "anomalib PatchCore, as exported: two images at once",
}


def write(results: Path, docs: Path) -> None:
    """Put every table between its markers, from the result files."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        return found

    tables = {"startup": lambda: _startup(read("startup")), "goals": lambda: _goals(read)}
    for size in SIZES:
        for name in ("ours", "rivals"):
            tables[f"{name}-{size}"] = partial(_measured, read, f"{name}-{size}")
    put(docs, tables)


def _measured(read: Any, name: str) -> str:
    found = read(name)
    heads = ["", "engine", "precision", "one image: median, ms", "99th percentile, ms", "images/s"]
    heads += ["share of the peak", "network alone: images/s", "share of the peak"]
    rows = [_row(one) for one in found["contenders"]]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    return (
        f"{markdown(heads, rows)}\n\n{found['rounds']} rounds; convolutions at "
        f"{found['convolution_gflop_per_second']:.0f} GFLOP/s; {found['machine']}, {versions}"
    )


def _row(one: Mapping[str, Any]) -> list[str]:
    cells = [
        f"{TITLES.get(one['method'], one['method'])} ({one['gflop']:.1f} GFLOP)",
        ENGINES.get(one["engine"], "OpenVINO, anomalib's inferencer"),
        one["precision"],
        f"{one['single_ms_median']:,.1f}",
        f"{one['single_ms_p99']:,.1f} (of {one['singles']})",
        _best(one["images_per_second"]),
        f"{one['share_of_peak']:.0%}",
    ]
    if "network_images_per_second" not in one:
        return [*cells, "–", "–"]
    return [*cells, _best(one["network_images_per_second"]), f"{one['network_share_of_peak']:.0%}"]


def _best(rates: Mapping[str, float]) -> str:
    batch, rate = max(rates.items(), key=lambda pair: pair[1])
    return f"{rate:,.{1 if rate >= 10 else 2}f} (batch {batch})"


def _goals(read: Any) -> str:
    rows: list[list[str]] = []
    for mine, theirs, wanted in GOALS:
        for size in SIZES:
            contenders = read(f"rivals-{size}")["contenders"]
            rate = _throughput(one for one in contenders if one["method"] == mine)
            others = [one for one in contenders if one["method"].startswith(theirs)]
            ratio = rate / _throughput(others)
            equal = rate / _throughput(one for one in others if one["precision"] == "float32")
            name = TITLES[theirs].removeprefix("anomalib ").split(",")[0]
            told = f"{ratio:.1f} x; {equal:.1f} x with both in float32"
            rows.append(
                [f"{mine}: at least {wanted} x {name}'s images/s", size, told, _verdict(ratio >= wanted)]
            )
    for size in SIZES:
        for one in read(f"ours-{size}")["contenders"]:
            if one["precision"] == "float32":
                what = f"{one['method']} in {ENGINES[one['engine']]}: at least {SHARE:.0%} of the peak"
                alone, whole = one["network_share_of_peak"], one["share_of_peak"]
                told = f"network {alone:.0%}, bytes to verdict {whole:.0%}"
                verdict = _verdict(whole >= SHARE)
                if whole < SHARE <= alone:
                    verdict = "network only"
                rows.append([what, size, told, verdict])
    for one in read("startup")["starts"]:
        what = f"{one['method']} in {ENGINES[one['engine']]}: first verdict within {STARTUP_S:g} s"
        told = f"{one['median_s']:.2f} s"
        rows.append([what, one["size"], told, _verdict(one["median_s"] < STARTUP_S)])
    return markdown(["goal", "size", "measured", "met"], rows)


def _throughput(contenders: Iterable[Mapping[str, Any]]) -> float:
    return max(rate for one in contenders for rate in one["images_per_second"].values())


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _startup(found: Mapping[str, Any]) -> str:
    heads = ["", "size", "engine", "median, s", "slowest, s"]
    rows = [
        [
            one["method"],
            one["size"],
            ENGINES[one["engine"]],
            f"{one['median_s']:.2f}",
            f"{one['slowest_s']:.2f}",
        ]
        for one in found["starts"]
    ]
    return f"{markdown(heads, rows)}\n\n{found['starts'][0]['processes']} processes each; {found['machine']}"
