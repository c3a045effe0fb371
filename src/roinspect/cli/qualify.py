"""`roinspect qualify`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Run a written plan, and report whether its acceptance limits are met."""
    parser = command_parser("qualify", "PLAN.yaml [--out FOLDER]")
    parser.add_argument("plan", type=Path, help="YAML file with the test sets and the acceptance limits")
    parser.add_argument("--out", type=Path, help="new folder for the report; PLAN.qualification by default")
    options = parse(parser, arguments)

    from roinspect.qualification.qualify import FIGURES, REPORT, default_out, qualify, refuse_existing, write

    out = options.out or default_out(options.plan)
    refuse_existing(out)
    result = qualify(options.plan)
    for one in result.criteria:
        print(f"{'met' if one.is_met else 'NOT MET':9}{one.name}: {one.limit} required, {one.found}.")
        print(f"{'':9}{one.note}.\n" if one.note else "", end="")
    for remark in result.remarks:
        print(f"Note: {remark}.")
    print(f"The plan is {'met' if result.is_met else 'not met'}.", flush=True)
    write(result, out)
    print(f"The report is {out / REPORT}; the figures are in {FIGURES} in the same folder.")
    return 0 if result.is_met else 1
