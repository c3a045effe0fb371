"""The results of `latency.py` as the tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

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
        "ratios": partial(_ratios, results),
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
        f"{_titled(one['method'])} ({one['gflop']:.1f} GFLOP)",
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
    """Against anomalib's models and the processor's peak, and until the first verdict."""
    rows: list[list[str]] = []
    for mine, theirs, wanted in GOALS:
        if mine == "roibank":
            continue
        for size in SIZES:
            equal = _equal(*_pair(results, mine, theirs, size))
            told = ", ".join(f"{ratio:.1f} x with both in {precision}" for precision, ratio in equal)
            verdict = _verdict(min(ratio for _, ratio in equal) >= wanted)
            rows.append([f"{mine}: at least {wanted} x {_name(theirs)}'s images/s", size, told, verdict])
    today = Results("roibank").latest(verb="cost").measures
    for mine, theirs, wanted in GOALS:
        if mine == "roibank":
            (rate,) = (rate for title, rate in today["rates"].items() if title.startswith(_name(theirs)))
            ratio = today["rates"]["roibank, OpenVINO"] / rate
            told = f"{ratio:.1f} x (float32 against bfloat16, one image at a time)"
            goal = f"roibank: at least {wanted} x {_name(theirs)}'s images/s"
            rows.append([goal, "256", told, _verdict(ratio >= wanted)])
    for size in SIZES:
        every = results.latest(verb="ours", size=size).measures["contenders"]
        contenders = [one for one in every if one["precision"] == "float32" and one["method"] != "roibank"]
        for method in dict.fromkeys(one["method"] for one in contenders):
            best = max((one for one in contenders if one["method"] == method), key=_whole)
            alone, whole = best["network_share_of_peak"], _whole(best)
            told = f"{RUNTIMES[best['engine']]}: network {alone:.0%}, bytes to verdict {whole:.0%}"
            verdict = "network only" if whole < SHARE <= alone else _verdict(whole >= SHARE)
            rows.append([f"{method}, best runtime: at least {SHARE:.0%} of the peak", size, told, verdict])
    told = f"OpenVINO, one image at a time: bytes to verdict {today['share_of_peak']:.0%}"
    verdict = _verdict(today["share_of_peak"] >= SHARE)
    rows.append([f"roibank: at least {SHARE:.0%} of the peak", "256", told, verdict])
    starts = results.latest(verb="startup").measures["starts"]
    for runtime in dict.fromkeys(one["engine"] for one in starts):
        slowest = max((one for one in starts if one["engine"] == runtime), key=lambda one: one["median_s"])
        what = f"first verdict in {RUNTIMES[runtime]} within {STARTUP_S:g} s"
        told = f"{slowest['median_s']:.2f} s (median; {slowest['method']}, the slowest of all)"
        rows.append([what, slowest["size"], told, _verdict(slowest["median_s"] < STARTUP_S)])
    return markdown(["goal", "size", "measured", "met"], rows)


def _ratios(results: Results) -> str:
    """Ours over theirs, at the same precision and the best of each, and the networks' sizes."""
    rows: list[list[str]] = []
    for mine, theirs, _ in GOALS:
        for size in SIZES:
            own, others = _pair(results, mine, theirs, size)
            ratios = dict(_equal(own, others))
            equal = [f"{ratios[name]:.1f} x" if name in ratios else "–" for name in ("float32", "bfloat16")]
            best, other = max(own, key=_rate), max(others, key=_rate)
            told = f"{_rate(best) / _rate(other):.1f} x ({best['precision']} / {other['precision']})"
            work = [each[0]["gflop"] for each in (own, others)]
            operations = f"{work[0]:.1f} / {work[1]:.1f} ({work[1] / work[0]:.0f} x)"
            rows.append([f"{_titled(mine)} / {_name(theirs)}", size, *equal, told, operations])
    heads = ["images/s, ours / theirs", "size", "both float32", "both bfloat16", "the best of each"]
    return markdown([*heads, "GFLOP an image, ours / theirs"], rows)


Contenders: TypeAlias = Sequence[Mapping[str, Any]]


def _pair(results: Results, mine: str, theirs: str, size: str) -> tuple[Contenders, Contenders]:
    """Every precision and runtime of ours and of theirs, measured in turns."""
    contenders = results.latest(verb="rivals", size=size).measures["contenders"]
    own = [one for one in contenders if one["method"] == mine]
    return own, [one for one in contenders if one["method"].startswith(theirs)]


def _equal(own: Contenders, others: Contenders) -> list[tuple[str, float]]:
    """Each precision that both have, and the ratio of the best images/s there."""
    rates = [
        {name: max(_rate(one) for one in each if one["precision"] == name) for name in _precisions(each)}
        for each in (own, others)
    ]
    return [(name, rate / rates[1][name]) for name, rate in rates[0].items() if name in rates[1]]


def _precisions(contenders: Contenders) -> list[str]:
    return list(dict.fromkeys(one["precision"] for one in contenders))


def _titled(method: str) -> str:
    """The name in tables of `latency.py`, which has not measured today's roibank."""
    return "roibank, former version" if method == "roibank" else TITLES.get(method, method)


def _name(theirs: str) -> str:
    return TITLES[theirs].removeprefix("anomalib ").split(",")[0]


def _rate(one: Mapping[str, Any]) -> float:
    """Images a second in the best way."""
    return max(one["images_per_second"].values())


def _whole(one: Mapping[str, Any]) -> float:
    share: float = one["share_of_peak"]
    return share


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _startup(results: Results) -> str:
    run = results.latest(verb="startup")
    starts = run.measures["starts"]
    heads = ["", "size", "runtime", "median, s", "slowest, s"]
    rows = [
        [
            _titled(one["method"]),
            one["size"],
            RUNTIMES[one["engine"]],
            f"{one['median_s']:.2f}",
            f"{one['slowest_s']:.2f}",
        ]
        for one in starts
    ]
    return f"{markdown(heads, rows)}\n\n{starts[0]['processes']} processes each; {where([run])}"
