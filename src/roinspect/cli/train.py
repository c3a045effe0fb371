"""`roinspect train`."""

from __future__ import annotations

import dataclasses
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from roinspect.cli.arguments import BITS_HELP, add_data_options, command_parser, good_names, parse
from roinspect.errors import UserError, nearest
from roinspect.inspection.bundle import SEGMENTER
from roinspect.segmenter.settings import SegmenterSettings

PRESETS = ("compact", "paper")


def run(arguments: list[str]) -> int:
    """Train a model from photographs and their regions of interest."""
    from roinspect.methods.registry import DEFAULT, METHODS
    from roinspect.methods.registry import settings_class as settings_of

    names = (*METHODS, SEGMENTER)
    method, *rest = arguments or ["--help"]
    if method in ("-h", "--help"):
        print(
            f"usage: roinspect train [METHOD] DATA --roi SPEC --out BUNDLE\n\n"
            f"METHOD is one of {', '.join(names)}; {DEFAULT} by default.\n"
            "roinspect train METHOD --help lists all settings"
        )
        return 0
    if method not in names and (method.startswith("-") or Path(method).exists()):
        method, rest = DEFAULT, arguments
    if method not in names:
        raise UserError(
            f"no such method{nearest(method, names)}",
            where=method,
            remedy=f"run: roinspect train METHOD DATA ..., with METHOD one of {', '.join(names)}",
        )
    from roinspect.training.settings import TrainingSettings

    settings_class: Any = SegmenterSettings if method == SEGMENTER else settings_of(method)
    parser = _parser(method, settings_class, TrainingSettings)
    if not {"-h", "--help"} & set(rest):
        rest = _preset_first(parser, settings_class, rest)
    options = parse(parser, rest)
    for name, where in (("data", "DATA"), ("out", "--out")):
        if options.get(name) is None:
            remedy = f"run: roinspect train {method} DATA --out BUNDLE"
            raise UserError("is required", where=where, remedy=remedy)
    names = ("size", "tile", "scale", "bits", "seed", "references")
    short = {name: options[name] for name in names if options.get(name) is not None}
    settings = settings_class(**options.method.as_dict())
    common: dict[str, Any] = {
        "training": TrainingSettings(**options.training.as_dict() | short),
        "roi": options.roi,
        "columns": options.columns,
        "good": good_names(options.good),
        "resume": options.resume,
        "overwrite": options.overwrite,
    }
    written = f"The model is in {options.out}, the training log in {options.out}.run."
    if method == SEGMENTER:
        from roinspect.training.segmenter import train_segmenter

        metrics = train_segmenter(options.data, options.out, settings=settings, **common).metrics
        print(written)
        print(
            f"On {metrics['held_out_images']} held-out photographs the IoU of predicted and drawn regions is "
            f"{metrics['held_out_iou']:.3f} on average and {metrics['held_out_lowest_iou']:.3f} at worst."
        )
        print(f"Next: roinspect roi predict {options.out} {options.data} --out FOLDER")
        return 0

    from roinspect.training.train import train

    bundle = train(
        method,
        options.data,
        options.out,
        method_settings=settings,
        start_from=options.start_from,
        **common,
    )
    print(written)
    print(f"Parts are rejected at scores of {bundle.threshold.value:.4g} or more: {bundle.threshold.origin}.")
    if "roi_iou" in bundle.metrics:
        metrics = bundle.metrics
        print(
            f"On {metrics['roi_parts']} held-out photographs the IoU of predicted and drawn regions is "
            f"{metrics['roi_iou']:.3f} on average and {metrics['roi_lowest_iou']:.3f} at worst."
        )
    same_roi = "" if options.roi == "auto" else f" --roi {options.roi}"
    print(f"Next: roinspect evaluate {options.out} {options.data}{same_roi}")
    return 0


def _parser(method: str, settings_class: type, training_class: type) -> ArgumentParser:
    parser = command_parser(
        f"train {method}", "DATA --roi SPEC --out BUNDLE [--method.KEY X] [--training.KEY X]"
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    # Without a default, so that it does not override a --config file.
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        default=SUPPRESS,
        help="folder of photographs, or a CSV manifest (required)",
    )
    add_data_options(parser)
    parser.add_argument("--out", type=Path, help="new folder for the bundle (required)")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=PRESETS[0],
        help="default values of the method's settings, and of the training's length and batch size",
    )
    parser.add_argument(
        "--size", type=str, help="HEIGHTxWIDTH in pixels, or one number for both; short for --training.size"
    )
    parser.add_argument(
        "--tile",
        type=int,
        help="look closely at the region in tiles of so many pixels; short for --training.tile",
    )
    parser.add_argument(
        "--scale", type=float, help="factor by which tiles are reduced; short for --training.scale"
    )
    parser.add_argument("--bits", type=int, help=f"{BITS_HELP}; short for --training.bits")
    parser.add_argument("--seed", type=int, help="random seed; short for --training.seed")
    if method != SEGMENTER:
        parser.add_argument(
            "--references",
            type=int,
            help="held-out photographs that the bundle carries for its self-test; short for "
            "--training.references",
        )
        parser.add_argument(
            "--start-from", type=Path, help="bundle whose weights are the initial ones, of the same settings"
        )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint, if there is one"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    parser.add_class_arguments(settings_class, "method")
    parser.add_class_arguments(training_class, "training")
    return parser


def _preset_first(parser: ArgumentParser, settings_class: Any, arguments: list[str]) -> list[str]:
    """Make the preset's values the defaults; returns the arguments in the order in which to parse them."""
    # The preset may be set in a YAML file, so parse once to find it, and again with its defaults.
    words = [word for word in arguments if not word.startswith("--print_config")]
    options = parse(parser, words)
    values = dataclasses.asdict(settings_class.preset(options.preset))
    training = settings_class(**options.method.as_dict()).training(options.preset)
    if options.training.steps:
        # The preset's epochs would override the requested steps.
        training.pop("epochs", None)
    parser.set_defaults({f"method.{name}": value for name, value in values.items()})
    parser.set_defaults({f"training.{name}": value for name, value in training.items()})
    # --print_config must come after --config, or it prints an incomplete configuration.
    return words + [word for word in arguments if word not in words]
