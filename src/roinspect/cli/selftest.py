"""`roinspect selftest`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from roinspect.cli.arguments import add_runtime_option, command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Check that a model sees its reference photographs as it did when it was trained."""
    parser = command_parser("selftest", "BUNDLE [--runtime NAME] [--threads N] [--json]")
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    add_runtime_option(parser)
    parser.add_argument("--threads", type=int | None, help="CPU threads of the network; all cores by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parse(parser, arguments)

    from roinspect.inspection.inspector import Inspector

    inspector = Inspector.load(options.bundle, options.runtime, threads=options.threads)
    start = time.perf_counter()
    result = inspector.self_test()
    if not result.tested:
        raise UserError(
            "has no reference photographs",
            where=options.bundle,
            remedy="train again with --references 4",
        )
    if options.json:
        print(json.dumps(result.to_dict()))
    else:
        print(f"{'photograph':24}{'trained':>12}{'here':>12}  verdict")
        for one in result.tested:
            here = one.error or f"{one.pred_score:12.6g}"
            verdict = f"{one.verdict}" if one.is_equal else f"{one.verdict}, not as in training"
            print(f"{one.name:24}{one.expected:12.6g}{here}  {'' if one.error else verdict}")
        print(f"{result.runtime}, {time.perf_counter() - start:.2f} s: {result}.")
    return 0 if result.is_passed else 1
