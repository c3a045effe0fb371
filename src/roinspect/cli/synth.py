"""`roinspect synth`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, number_pair, parse


def run(arguments: list[str]) -> int:
    """Generate images of a synthetic product."""
    parser = command_parser(
        "synth", "zipper|vials|washers OUT [--count N] [--seed S] [--size SIZE] [--defect-pixels LOW,HIGH]"
    )
    parser.add_argument("product", choices=("zipper", "vials", "washers"), help="product")
    parser.add_argument("out", type=Path, help="new folder for images and masks")
    parser.add_argument("--count", type=int, default=160, help="number of images, at least 20")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed; the same seed gives the same images"
    )
    parser.add_argument(
        "--size", type=str, default="256", help="HEIGHTxWIDTH in pixels, or one number for both"
    )
    parser.add_argument(
        "--train-defects",
        type=float,
        default=0.0,
        help="share in [0, 1) of the defective images that go into the train split",
    )
    parser.add_argument(
        "--defect-pixels",
        type=str,
        help="LOW,HIGH: width of each defect in pixels of the image, at least 2.5, drawn log-uniformly; the "
        "zipper's missing and bent teeth, whose size is given, are left out. By default defects scale with "
        "the product",
    )
    options = parse(parser, arguments)

    from roinspect.images.pixels import parse_size
    from roinspect.synthetic.products import write_dataset

    write_dataset(
        options.product,
        options.out,
        count=options.count,
        seed=options.seed,
        size_hw=parse_size(options.size),
        train_defects=options.train_defects,
        defect_pixels=number_pair(options.defect_pixels, "--defect-pixels")
        if options.defect_pixels
        else None,
    )
    print(f"{options.count} images and their masks are in {options.out}.")
    return 0
