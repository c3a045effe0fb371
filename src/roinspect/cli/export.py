"""`roinspect export`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Write a model for ONNX Runtime, OpenVINO or LibTorch."""
    parser = command_parser(
        "export", "BUNDLE --to onnx|openvino|torchscript [--int8 DATA | --bf16 DATA] [--images FILE...]"
    )
    parser.add_argument("bundle", type=Path, help="folder that training wrote; the export lies in it")
    parser.add_argument(
        "--to", choices=("onnx", "openvino", "torchscript"), required=True, help="what is written"
    )
    parser.add_argument(
        "--int8", type=Path, help="convolutions in INT8, their ranges from good parts of this data"
    )
    parser.add_argument(
        "--bf16", type=Path, help="OpenVINO in bfloat16 where the processor has it, compared on this data"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", default=[], help="photographs, or folders, to compare answers on"
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="the own column names of the manifest of --int8 or --bf16",
    )
    given = parse(parser, arguments)

    from roinspect.data.records import find_images
    from roinspect.exports.export import export

    images = [
        image for path in given.images for image in ((find_images(path) if path.is_dir() else None) or [path])
    ]
    file = export(
        given.bundle, given.to, int8=given.int8, bf16=given.bf16, images=images, columns=given.columns
    )
    print(f"The exported model is {file}; it runs wherever the bundle {given.bundle} is copied.")
    return 0
