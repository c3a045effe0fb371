"""The results of the stress tests as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from results import Results, Run, where
from tables import markdown


def tables(results: Results) -> dict[str, Callable[[], str]]:
    """The tables, by marker."""

    def text(verb: str, shown: Callable[[Run], str]) -> str:
        run = results.latest(verb=verb)
        what = [run.settings["model"], *(f"{name} {version}" for name, version in run.versions.items())]
        return f"{shown(run)}\n\n{', '.join(what)}; {where([run])}."

    every = {"soak": _soak, "soak-quiet": _soak, "kill": _kill, "schema": _schema, "fuzz": _fuzz}
    every["memory"] = _memory
    return {verb: partial(text, verb, shown) for verb, shown in every.items()}


def _soak(run: Run) -> str:
    found, settings = run.measures, run.settings
    senders = f"{settings['senders']} and {settings['slow_senders']} slow ones"
    kinds: dict[str, list[str]] = {}
    for key, count in found["answers"].items():
        kind, _, status = key.rpartition(" ")
        kinds.setdefault(kind, []).append(f"{count:,} x {status}")
    measures = [
        ("duration, senders", f"{found['seconds'] / 60:.0f} minutes, {senders}"),
        ("queue, deadline", f"{settings['queue']}, {settings['deadline_s']} s"),
        *((f"answers: {kind}", ", ".join(answers)) for kind, answers in kinds.items()),
        ("lost answers, wrong answers", f"{found['lost']}, {found['wrong']}"),
        ("results told, missing at the receiver", f"{found['results_told']:,}, {found['results_missing']}"),
        ("good verdicts per second", str(found["good_per_second"])),
        (
            "latency p50, p99, longest",
            f"{found['p50_ms']:,}, {found['p99_ms']:,}, {found['slowest_ms']:,} ms",
        ),
        ("memory", ", ".join(f"{value:.0f} MB at {at}" for at, value in found["memory_mb"].items())),
        ("highest memory", f"{found['memory_peak_mb']:.0f} MB"),
        ("`Retry-After`", _range([int(second) for second in found["retry_after_s"]], "s")),
        ("tracebacks in the log", str(found["tracebacks"])),
    ]
    return markdown(("", ""), measures)


def _kill(run: Run) -> str:
    found = run.measures
    spooled = found["spooled_at_a_kill"]
    return markdown(
        ("", ""),
        [
            ("kills; absences of the receiver", f"{run.settings['kills']}; {found['receiver_absences']}"),
            ("results in the spool at a kill", _range([spooled["least"], spooled["most"]], "")),
            ("told, delivered", f"{found['told']:,}, {found['delivered']:,}"),
            ("lost", str(found["lost"])),
            ("delivered twice, under the same id", str(found["delivered_twice"])),
            ("delivered, but killed before the sender was told", str(found["delivered_untold"])),
            ("changed, or left in the spool", str(found["changed"] + found["left_in_spool"])),
        ],
    )


def _schema(run: Run) -> str:
    found = run.measures
    verdict = "nothing" if found["finds_nothing"] else "faults"
    examples = f"{run.settings['examples_per_operation']} examples of each operation"
    return f"{found['requests']:,} requests, {examples}: it finds {verdict}."


def _fuzz(run: Run) -> str:
    found = run.measures
    statuses = sorted({status for told in found["statuses"].values() for status in told})
    rows = [
        (kind, *(f"{told.get(status, 0):,}" for status in statuses))
        for kind, told in found["statuses"].items()
    ]
    told = (
        f"{run.settings['bodies']:,} bodies: {found['faults']} faults, the slowest answer after "
        f"{found['slowest_s']:.2f} s, {found['tracebacks']} tracebacks. Memory: "
        + ", ".join(f"{value:.0f} MB after {int(number):,}" for number, value in found["memory_mb"].items())
        + "."
    )
    return f"{markdown(('sent', *statuses), rows)}\n\n{told}"


def _memory(run: Run) -> str:
    found, count = run.measures, run.settings["count"]
    rows = [
        (told, *(f"{found[f'{name}_{key}_mb']:.0f}" for key in ("peak", "rest")))
        for name, told in (("one", "one request"), ("many", f"{count} requests at once"))
    ]
    heads = ("", "highest memory, MB", "20 s later, MB")
    answers = ", ".join(f"{number} x {status}" for status, number in found["many_answers"].items())
    told = f"After the start it is {found['started_mb']:.0f} MB. The {count} were answered {answers}."
    return f"{markdown(heads, rows)}\n\n{told}"


def _range(values: list[int], unit: str) -> str:
    if not values:
        return "–"
    return f"{min(values)} to {max(values)} {unit}".strip()
