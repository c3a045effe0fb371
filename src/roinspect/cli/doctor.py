"""`roinspect doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roinspect.cli.arguments import command_parser, parse

if TYPE_CHECKING:
    from roinspect.cli.diagnosis import Diagnosis


def run(arguments: list[str]) -> int:
    """Show what is installed, what is missing for each verb, and how to install it."""
    parser = command_parser("doctor", "[--json]")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    options = parse(parser, arguments)

    from roinspect.cli import EXTRAS, VERBS
    from roinspect.cli.diagnosis import Needs, diagnose
    from roinspect.inspection.targets import TARGETS

    extras = {target.extra: name for name, target in TARGETS.items() if target.extra not in ("", "train")}
    train = Needs(("train",))
    runs = {extra: f"--runtime {TARGETS[name].runtime}" for extra, name in extras.items()}
    needs = dict.fromkeys(VERBS, Needs()) | {
        "train": train,
        "evaluate": train,
        "calibrate": train,
        "demo": train,
        "export": Needs(("train",), {extra: f"--to {name}" for extra, name in extras.items()}),
        "predict": Needs((), runs | {"scale": "Parquet, --on ray", "serve": "--results mqtt://..."}),
        "release": Needs((), runs),
        "selftest": Needs((), runs),
        "qualify": Needs((), runs),
        "watch": Needs((), runs | {"serve": "--results mqtt://..."}),
        "serve": Needs(("serve",), runs),
        "roi": Needs((), {"train": "roi predict"}),
        "studio": Needs(("studio", "train")),
        "compare": Needs(("train",), {"peers": "DRAEM, GANomaly, PaDiM, PatchCore", "scale": "--on ray"}),
        "reproduce": Needs(("train",), {"peers": "DRAEM, GANomaly, PaDiM, PatchCore", "scale": "--on ray"}),
    }
    diagnosis = diagnose(needs, EXTRAS)
    if options.json:
        import dataclasses
        import json

        print(json.dumps(dataclasses.asdict(diagnosis), indent=1))
    else:
        _show(diagnosis)
    return 1 if diagnosis.faults else 0


def _show(diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    machine = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _machine(diagnosis):
        machine.add_row(f"[bold]{name}", value)
    verbs = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("verb", "", "what is missing"):
        verbs.add_column(heading)
    for state in diagnosis.verbs:
        lacks = [f"[red]{', '.join(state.missing)}"] if state.missing else []
        lacks += [f"[dim]{extra}: for {use}" for extra, use in state.optional.items()]
        verbs.add_row(state.verb, "[green]runs" if state.runs else "[red]does not run", "\n".join(lacks))
    console.print(machine, "", verbs, sep="\n")
    for line in (*diagnosis.faults, *diagnosis.remarks):
        console.print(f"\n{line}", markup=False, soft_wrap=True)
    if diagnosis.install:
        console.print(f"\nTo install everything: {diagnosis.install}", markup=False, soft_wrap=True)


def _machine(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    versions = diagnosis.packages
    built_for = f"CUDA {diagnosis.torch_cuda}" if diagnosis.torch_cuda else "CPUs"
    torch = f"{versions['torch']}, for {built_for}" if versions["torch"] else "not installed"
    weights = [
        f"{name}: {'available' if is_here else 'missing'}" for name, is_here in diagnosis.weights.items()
    ]
    return [
        ("roinspect", f"{diagnosis.roinspect}, Python {diagnosis.python}, {diagnosis.platform}"),
        ("CPU cores", str(diagnosis.cores)),
        ("GPUs", ", ".join(diagnosis.gpus) or "none found by nvidia-smi"),
        ("torch", torch),
        ("ONNX Runtime", f"{versions['onnxruntime']}: {', '.join(diagnosis.onnxruntime_providers)}"),
        ("OpenVINO", f"{versions['openvino'] or 'not installed'} {', '.join(diagnosis.openvino_devices)}"),
        ("weights", ", ".join(weights)),
        ("audit log", diagnosis.audit or "none: ROINSPECT_AUDIT is not set"),
    ]
