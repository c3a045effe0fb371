"""`roinspect roi predict`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Predict masks with a trained segmenter for photographs that have none."""
    parser = command_parser("roi predict", "SEGMENTER DATA --out FOLDER [--certain X] [--overwrite]")
    parser.add_argument(
        "segmenter",
        type=Path,
        help="bundle of a segmenter, the folder that `roinspect train segmenter` wrote",
    )
    parser.add_argument(
        "data", type=Path, help="folder of photographs, with or without subfolders, or a CSV manifest"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the masks, such as DATA/roi; drawn masks in it are kept; "
        "the same command resumes an interrupted run",
    )
    parser.add_argument(
        "--certain",
        type=float,
        help="confidence in [0, 1] below which a mask is listed for review; "
        "by default 0.9 times the lowest confidence of a held-out photograph",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace unchanged masks of another segmenter",
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="column names of the manifest that differ from ours: --columns.image_path file",
    )
    options = parse(parser, arguments)
    if options.certain is not None and not 0 <= options.certain <= 1:
        raise UserError(f"must be in [0, 1], not {options.certain:g}", where="--certain")

    from roinspect.segmenter.tree import SHEET, TABLE, predict_rois

    try:
        tree = predict_rois(
            options.segmenter,
            options.data,
            options.out,
            columns=options.columns,
            certain=options.certain,
            overwrite=options.overwrite,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; run the same command again to resume") from None
    failed = [row for row in tree.rows if row.origin == "none"]
    if len(failed) == len(tree.rows):
        raise UserError(
            f"none of {len(failed)} photographs got a mask (first: {failed[0].error})",
            where=options.data,
            remedy="check the paths, and the segmenter's held-out IoU",
        )
    print(
        f"Of {len(tree.rows):,} photographs, {tree.count('predicted'):,} have a predicted mask and "
        f"{tree.count('drawn'):,} a drawn one; {len(failed):,} have none."
    )
    if failed:
        print(f"First without a mask: {failed[0].key}: {failed[0].error}; all are in {options.out / TABLE}.")
    if tree.count("predicted"):
        print(
            f"{tree.unsure:,} masks have a confidence below {tree.certain:.3f}; review "
            f"{options.out / SHEET}, and redraw wrong masks: drawn masks are kept."
        )
    print(f"Next: roinspect train {options.data} --roi {options.out} --out BUNDLE")
    return 0
