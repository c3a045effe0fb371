"""The command `roinspect`: its verbs, and faults as one line. No logic of its own."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roinspect import __version__
from roinspect.arguments import add_data_options, command_parser, nearest, parse
from roinspect.errors import UserError

PRESETS = ("compact", "paper")

# Top-level modules of the extra `train`, which the PC on the line does without.
TRAIN_MODULES = frozenset(
    {"jinja2", "lightning", "matplotlib", "safetensors", "tensorboard", "timm", "torch", "torchmetrics"}
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; None takes the process's own.

    Returns:
        The exit code: 0, 2 for a fault the user can mend (one line on stderr), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("roinspect: %(levelname)s: %(message)s"))
    log = logging.getLogger("roinspect")
    log.addHandler(shown)
    log.setLevel(logging.INFO)
    try:
        return _dispatch(arguments)
    except UserError as error:
        return _fault(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_MODULES:
            raise
        return _fault(f'{error.name} is not installed; run: pip install "roinspect[train]"')
    except KeyboardInterrupt as interrupt:
        _fault(str(interrupt) or "interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:  # --help and --print_config
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        log.removeHandler(shown)
        log.setLevel(logging.NOTSET)


def _dispatch(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:10}{meaning}" for name, (meaning, _) in VERBS.items()]
        print("usage: roinspect VERB ...\n\nFinds defects in photographs, inside a region of interest.\n")
        print(
            "\n".join([*lines, "", "roinspect VERB --help tells more of each; --version tells the version"])
        )
        return 0
    if verb == "--version":
        print(f"roinspect {__version__}")
        return 0
    if verb not in VERBS:
        raise UserError(
            f"no such verb{nearest(verb, VERBS)}", where=verb, remedy=f"use one of {', '.join(VERBS)}"
        )
    return VERBS[verb][1](rest)


# -- the verbs -----------------------------------------------------------------------------------------------


def _train(arguments: list[str]) -> int:
    from roinspect.methods.method import METHODS, method_class

    method, *rest = arguments or ["--help"]
    if method in ("-h", "--help"):
        print(f"usage: roinspect train METHOD DATA --roi SPEC --out BUNDLE\n\nMETHOD is {', '.join(METHODS)}")
        print("roinspect train METHOD --help lists every setting")
        return 0
    if method not in METHODS:
        raise UserError(
            f"no such method{nearest(method, METHODS)}",
            where=method,
            remedy=f"write: roinspect train METHOD DATA ..., with METHOD one of {', '.join(METHODS)}",
        )
    settings_class: Any = method_class(method).settings_class
    from roinspect.training import TrainingSettings, train

    parser = command_parser(
        f"train {method}", "DATA --roi SPEC --out BUNDLE [--method.KEY X] [--training.KEY X]"
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_argument("data", type=Path, nargs="?", help="folder of photographs, or a manifest")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, help="the bundle to write")
    parser.add_argument(
        "--preset", choices=PRESETS, default=PRESETS[0], help="defaults of all method.* settings"
    )
    parser.add_argument("--size", type=str, help="short for --training.size: HEIGHTxWIDTH, or one number")
    parser.add_argument("--seed", type=int, help="short for --training.seed")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_class_arguments(settings_class, "method")
    parser.add_class_arguments(TrainingSettings, "training")
    if not {"-h", "--help"} & set(rest):
        # The preset may stand in a YAML file, so everything is read once to find it and once on top of it.
        words = [word for word in rest if not word.startswith("--print_config")]
        # Printed before a --config is read, the configuration would be half of it.
        rest = words + [word for word in rest if word not in words]
        preset = parse(parser, words).preset
        values = dataclasses.asdict(settings_class.preset(preset))
        parser.set_defaults({f"method.{name}": value for name, value in values.items()})
    given = parse(parser, rest)
    for name, where in (("data", "DATA"), ("out", "--out")):
        if given[name] is None:
            remedy = f"write: roinspect train {method} DATA --out BUNDLE"
            raise UserError("is wanted", where=where, remedy=remedy)
    short = {name: given[name] for name in ("size", "seed") if given[name] is not None}
    bundle = train(
        method,
        given.data,
        given.out,
        method_settings=settings_class(**given.method.as_dict()),
        training=TrainingSettings(**given.training.as_dict() | short),
        roi=given.roi,
        columns=given.columns,
        resume=given.resume,
        overwrite=given.overwrite,
    )
    print(f"The model lies in {given.out}, what happened on the way in {given.out}.run.")
    print(f"A part is rejected from score {bundle.threshold.value:.4g} on: {bundle.threshold.origin}.")
    print(f"Next: roinspect evaluate {given.out} {given.data}" + _roi_words(given.roi))
    return 0


def _evaluate(arguments: list[str]) -> int:
    parser = command_parser("evaluate", "BUNDLE DATA [--against BUNDLE] [--roi SPEC] [--out FOLDER]")
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument("data", type=Path, help="folder of photographs, or a manifest")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_data_options(parser)
    parser.add_argument("--against", type=Path, help="another bundle, measured and shown beside the first")
    parser.add_argument("--out", type=Path, help="folder for the report; BUNDLE.evaluation by default")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="what to measure on"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="photographs per pass")
    given = parse(parser, arguments)
    if given.batch_size < 1:
        raise UserError(f"must be at least 1, not {given.batch_size}", where="--batch_size")

    from roinspect.evaluation.evaluate import METRICS, PREDICTIONS, REPORT, default_out, evaluate_models
    from roinspect.evaluation.wording import verdict_sentences

    out = given.out or default_out(given.bundle)
    bundles = [given.bundle, *([given.against] if given.against else [])]
    measured = evaluate_models(
        bundles,
        given.data,
        out,
        roi=given.roi,
        columns=given.columns,
        split=given.split,
        batch_size=given.batch_size,
    )
    for bundle, values in zip(bundles, measured, strict=True):
        lines = verdict_sentences(values)
        lines += [
            f"Inside the region: image AUROC {values.image_auroc:.3f}, pixel AUROC {values.pixel_auroc:.3f}."
        ]
        print("\n".join([f"{bundle}:", *lines] if given.against else lines))
    print(f"The report is {out / REPORT}, the numbers are in {METRICS} and {PREDICTIONS} beside it.")
    return 0


def _calibrate(arguments: list[str]) -> int:
    parser = command_parser(
        "calibrate", "BUNDLE DATA [--false-reject RATE | --best-f1 | --threshold X] [--split val|train]"
    )
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="held-out photographs: a folder, or a manifest; not with --threshold",
    )
    add_data_options(parser)
    parser.add_argument(
        "--false-reject",
        type=str,
        help="share of good parts that may be rejected: 0.5% or 0.005; 1% by default",
    )
    parser.add_argument("--best-f1", action="store_true", help="the best F1 on labelled parts of both kinds")
    parser.add_argument("--threshold", type=float, help="a score, set by hand")
    parser.add_argument(
        "--split", type=str, choices=("val", "train", "test"), help="which photographs; test ones are refused"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="photographs per pass")
    given = parse(parser, arguments)
    if given.batch_size < 1:
        raise UserError(f"must be at least 1, not {given.batch_size}", where="--batch_size")

    from roinspect.recalibration import FALSE_REJECT, Way, read_rate, recalibrate

    rate = None if given.false_reject is None else read_rate(given.false_reject)
    if rate is None and not given.best_f1 and given.threshold is None:
        rate = FALSE_REJECT
    change = recalibrate(
        given.bundle,
        given.data,
        Way(rate, given.best_f1, given.threshold),
        split=given.split,
        roi=given.roi,
        columns=given.columns,
        batch_size=given.batch_size,
    )
    former, present = change.former, change.present
    print(f"A part was rejected from score {former.value:.4g} on: {former.origin}.")
    print(f"A part is now rejected from score {present.value:.4g} on: {present.origin}.")
    print("".join(f"{effect}\n" for effect in change.effects), end="")
    return 0


def _predict(arguments: list[str]) -> int:
    parser = command_parser("predict", "BUNDLE IMAGES... [--overlays FOLDER] [--maps FOLDER]")
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--overlays", type=Path, help="folder for pictures of what was found")
    parser.add_argument(
        "--maps", type=Path, help="folder for the anomaly maps, 16-bit grey PNG: map = grey * map_factor"
    )
    given = parse(parser, arguments)

    from roinspect.evaluation.predictions import predictions
    from roinspect.inspector import Inspector

    inspector = Inspector.load(given.bundle)
    count = read = 0
    for line in predictions(inspector, given.images, overlays=given.overlays, maps=given.maps):
        print(json.dumps(line), flush=True)
        count += 1
        read += "error" not in line
    if not read:
        raise UserError(
            f"none of {count} images could be read",
            where=", ".join(map(str, given.images[:3])),
            remedy="check the paths",
        )
    return 0


def _compare(arguments: list[str]) -> int:
    from roinspect.evaluation.compare import ALL, CompareSettings, compare, parse_budget
    from roinspect.evaluation.compare_table import MARKDOWN

    parser = command_parser("compare", "DATA --roi SPEC --out FOLDER [--methods A,B] [--budget T]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a manifest")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables; a run goes on there")
    parser.add_argument("--methods", default=",".join(ALL), help="ours, or anomalib's, with commas")
    parser.add_argument("--arms", default="plain,roi-at-test", help="ways to use the ROI, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method")
    parser.add_argument("--budget", default="10m", help="time for each training: 90s, 10m, 1.5h")
    parser.add_argument("--size", default="256", help="HEIGHTxWIDTH in pixels, or one number")
    parser.add_argument("--batch_size", type=int, default=8, help="images per training step")
    parser.add_argument("--textures", type=Path, help="pictures for DRAEM's defects; made up by default")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where they run")
    given = parse(parser, arguments)
    settings = CompareSettings(
        methods=tuple(given.methods.split(",")),
        arms=tuple(given.arms.split(",")),
        budget_seconds=parse_budget(given.budget),
        **{name: given[name] for name in ("seeds", "size", "batch_size", "textures", "jobs", "engine")},
    )
    compare(given.data, given.out, settings, roi=given.roi, columns=given.columns, tell=print)
    print((given.out / MARKDOWN).read_text(encoding="utf-8"))
    print(f"The tables and the plot lie in {given.out}.")
    return 0


def _check(arguments: list[str]) -> int:
    parser = command_parser("check", "DATA [--roi SPEC] [--size SIZE]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a manifest")
    add_data_options(parser)
    parser.add_argument(
        "--size", type=str, help="size to train at, such as 256x640; finds defects too small for it"
    )
    given = parse(parser, arguments)

    from roinspect.data.check import check, print_findings
    from roinspect.data.records import read_records
    from roinspect.data.roi import attach_roi
    from roinspect.pixels import parse_size

    size_hw = parse_size(given.size) if given.size else None
    records = read_records(given.data, columns=given.columns)
    findings = check(attach_roi(records, given.roi, given.data, columns=given.columns), size_hw)
    print_findings(findings)
    return 2 if findings.problems else 0


def _synth(arguments: list[str]) -> int:
    parser = command_parser("synth", "zipper|vials OUT [--count N] [--seed S] [--size SIZE]")
    parser.add_argument("product", choices=("zipper", "vials"), help="what to draw")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--count", type=int, default=160, help="number of pictures, at least 20")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same pictures")
    parser.add_argument("--size", type=str, default="256", help="HEIGHTxWIDTH in pixels, or one number")
    parser.add_argument(
        "--train_defects", type=float, default=0.0, help="share of the defective pictures to train on"
    )
    given = parse(parser, arguments)

    from roinspect.data.synthetic import write_dataset
    from roinspect.pixels import parse_size

    write_dataset(
        given.product,
        given.out,
        count=given.count,
        seed=given.seed,
        size_hw=parse_size(given.size),
        train_defects=given.train_defects,
    )
    print(f"{given.count} pictures and their masks lie in {given.out}.")
    return 0


def _demo(arguments: list[str]) -> int:
    from roinspect.demo import SETTINGS, demo

    parser = command_parser("demo", "[--out FOLDER] [--steps N]")
    parser.add_argument("--out", type=Path, default=Path("roinspect-demo"), help="a new folder")
    parser.add_argument("--steps", type=int, default=SETTINGS.steps, help="training steps")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo")
    given = parse(parser, arguments)
    demo(given.out, training=dataclasses.replace(SETTINGS, steps=given.steps), overwrite=given.overwrite)
    return 0


VERBS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "train": ("photographs and their regions of interest to a model", _train),
    "evaluate": ("measure a model, and write a report", _evaluate),
    "calibrate": ("choose a model's threshold anew", _calibrate),
    "predict": ("inspect images: one line of JSON each", _predict),
    "compare": ("measure methods, ours and others', on equal terms", _compare),
    "check": ("look through the photographs before training", _check),
    "synth": ("draw a made-up product to try things on", _synth),
    "demo": ("all of it on a made-up zipper, in a few minutes", _demo),
}


# -- parts ---------------------------------------------------------------------------------------------------


def _roi_words(roi: str) -> str:
    return "" if roi == "auto" else f" --roi {roi}"


def _fault(line: str) -> int:
    print(f"roinspect: {line}", file=sys.stderr)
    return 2
