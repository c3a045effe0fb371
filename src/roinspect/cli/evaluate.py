"""`roinspect evaluate`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import add_data_options, command_parser, good_names, parse, require_positive


def run(arguments: list[str]) -> int:
    """Measure a model and write a report."""
    parser = command_parser("evaluate", "BUNDLE DATA [--against BUNDLE] [--roi SPEC] [--out FOLDER]")
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    parser.add_argument("data", type=Path, help="folder of photographs, or a CSV manifest")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_data_options(parser)
    parser.add_argument(
        "--against",
        type=Path,
        help="another bundle to compare with, measured on the same photographs",
    )
    parser.add_argument("--out", type=Path, help="folder for the report; BUNDLE.evaluation by default")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="split to measure on"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="photographs per pass through the network")
    options = parse(parser, arguments)
    require_positive(options, "batch_size")

    from roinspect.evaluation.evaluate import METRICS, PREDICTIONS, REPORT, default_out, evaluate_models
    from roinspect.evaluation.wording import verdict_sentences

    out = options.out or default_out(options.bundle)
    bundles = [options.bundle, *([options.against] if options.against else [])]
    measured = evaluate_models(
        bundles,
        options.data,
        out,
        roi=options.roi,
        columns=options.columns,
        good=good_names(options.good),
        split=options.split,
        batch_size=options.batch_size,
    )
    for bundle, values in zip(bundles, measured, strict=True):
        lines = verdict_sentences(values)
        lines += [
            f"Inside the region: image AUROC {values.image_auroc:.3f}, pixel AUROC {values.pixel_auroc:.3f}."
        ]
        print("\n".join([f"{bundle}:", *lines] if options.against else lines))
    print(f"The report is {out / REPORT}; the numbers are in {METRICS} and {PREDICTIONS} in the same folder.")
    return 0
