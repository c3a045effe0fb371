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
RUNTIMES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
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
    heads = ["", "runtime", "precision", "one image: median, ms", "99th percentile, ms", "images/s"]
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
        RUNTIMES.get(one["engine"], "OpenVINO, anomalib's inferencer"),
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
    way, rate = max(rates.items(), key=lambda pair: pair[1])
    return f"{rate:,.{1 if rate >= 10 else 2}f} ({way})"


def _goals(read: Any) -> str:
    rows: list[list[str]] = []
    for mine, theirs, wanted in GOALS:
        for size in SIZES:
            contenders = read(f"rivals-{size}")["contenders"]
            own = [one for one in contenders if one["method"] == mine]
            others = [one for one in contenders if one["method"].startswith(theirs)]
            best, other = max(own, key=_rate), max(others, key=_rate)
            ratio = _rate(best) / _rate(other)
            name = TITLES[theirs].removeprefix("anomalib ").split(",")[0]
            equal = _rate(_float32(own)) / _rate(_float32(others))
            told = f"{ratio:.1f} x ({best['precision']} against {other['precision']}); "
            told += (
                f"{_rate(_float32(own)) / _rate(other):.1f} x with ours in float32, {equal:.1f} x with both"
            )
            rows.append(
                [f"{mine}: at least {wanted} x {name}'s images/s", size, told, _verdict(ratio >= wanted)]
            )
    for size in SIZES:
        contenders = [one for one in read(f"ours-{size}")["contenders"] if one["precision"] == "float32"]
        for method in dict.fromkeys(one["method"] for one in contenders):
            best = max((one for one in contenders if one["method"] == method), key=_whole)
            alone, whole = best["network_share_of_peak"], _whole(best)
            told = f"{RUNTIMES[best['engine']]}: network {alone:.0%}, bytes to verdict {whole:.0%}"
            verdict = "network only" if whole < SHARE <= alone else _verdict(whole >= SHARE)
            rows.append([f"{method}, best runtime: at least {SHARE:.0%} of the peak", size, told, verdict])
    starts = read("startup")["starts"]
    for runtime in dict.fromkeys(one["engine"] for one in starts):
        slowest = max((one for one in starts if one["engine"] == runtime), key=lambda one: one["median_s"])
        what = f"first verdict in {RUNTIMES[runtime]} within {STARTUP_S:g} s"
        told = f"{slowest['median_s']:.2f} s ({slowest['method']}, the slowest of all)"
        rows.append([what, slowest["size"], told, _verdict(slowest["median_s"] < STARTUP_S)])
    return markdown(["goal", "size", "measured", "met"], rows)


def _rate(one: Mapping[str, Any]) -> float:
    """Images a second in the best way."""
    return max(one["images_per_second"].values())


def _whole(one: Mapping[str, Any]) -> float:
    share: float = one["share_of_peak"]
    return share


def _float32(contenders: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max((one for one in contenders if one["precision"] == "float32"), key=_rate)


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _startup(found: Mapping[str, Any]) -> str:
    heads = ["", "size", "runtime", "median, s", "slowest, s"]
    rows = [
        [
            one["method"],
            one["size"],
            RUNTIMES[one["engine"]],
            f"{one['median_s']:.2f}",
            f"{one['slowest_s']:.2f}",
        ]
        for one in found["starts"]
    ]
    return f"{markdown(heads, rows)}\n\n{found['starts'][0]['processes']} processes each; {found['machine']}"
