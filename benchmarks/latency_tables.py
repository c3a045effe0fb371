"""The results of `latency.py` as the tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from latency_models import SIZES
from results import Results, where
from tables import markdown

GOALS = (("grdnet", "draem", 20), ("roibank", "patchcore", 5), ("roibank", "padim", 2))
SHARE, STARTUP_S = 0.5, 1.0
RUNTIMES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
TITLES = {
    "draem": "anomalib DRAEM",
    "padim": "anomalib PaDiM",
    "patchcore": "anomalib PatchCore, traced with one image",
    "patchcore-pair": "anomalib PatchCore, as exported: two images at once",
}


def tables(results: Results) -> dict[str, Callable[[], str]]:
    """Every table, by its marker."""
    return {
        "startup": partial(_startup, results),
        "goals": partial(_goals, results),
        **{
            f"{verb}-{size}": partial(_measured, results, verb, size)
            for size in SIZES
            for verb in ("ours", "rivals")
        },
    }


def _measured(results: Results, verb: str, size: str) -> str:
    run = results.latest(verb=verb, size=size)
    heads = ["", "runtime", "precision", "one image: median, ms", "99th percentile, ms", "images/s"]
    heads += ["share of the peak", "network alone: images/s", "share of the peak"]
    rows = [_row(contender) for contender in run.measures["contenders"]]
    versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
    return (
        f"{markdown(heads, rows)}\n\n{run.measures['rounds']} rounds; convolutions at "
        f"{run.measures['convolution_gflop_per_second']:.0f} GFLOP/s; {where([run])}, {versions}"
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


def _goals(results: Results) -> str:
    rows: list[list[str]] = []
    for mine, theirs, wanted in GOALS:
        for size in SIZES:
            contenders = results.latest(verb="rivals", size=size).measures["contenders"]
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
        every = results.latest(verb="ours", size=size).measures["contenders"]
        contenders = [one for one in every if one["precision"] == "float32"]
        for method in dict.fromkeys(one["method"] for one in contenders):
            best = max((one for one in contenders if one["method"] == method), key=_whole)
            alone, whole = best["network_share_of_peak"], _whole(best)
            told = f"{RUNTIMES[best['engine']]}: network {alone:.0%}, bytes to verdict {whole:.0%}"
            verdict = "network only" if whole < SHARE <= alone else _verdict(whole >= SHARE)
            rows.append([f"{method}, best runtime: at least {SHARE:.0%} of the peak", size, told, verdict])
    starts = results.latest(verb="startup").measures["starts"]
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


def _startup(results: Results) -> str:
    run = results.latest(verb="startup")
    starts = run.measures["starts"]
    heads = ["", "size", "runtime", "median, s", "slowest, s"]
    rows = [
        [
            one["method"],
            one["size"],
            RUNTIMES[one["engine"]],
            f"{one['median_s']:.2f}",
            f"{one['slowest_s']:.2f}",
        ]
        for one in starts
    ]
    return f"{markdown(heads, rows)}\n\n{starts[0]['processes']} processes each; {where([run])}"
