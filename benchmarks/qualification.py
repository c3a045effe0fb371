"""The worked example of docs/validation.md: its plan, on synthetic vials, with simulated inspectors.

    python benchmarks/qualification.py            # photographs, model, inspectors, and the plan's results
    python benchmarks/qualification.py --tables   # puts the results into docs/validation.md

An inspector rejects a defective part with the probability 1 / (1 + (a50 / width)^3), where `width` is that of
the defect in pixels, and a good one with a fixed probability. Photographs and model are kept in
ROINSPECT_WORK and used again; the report is there too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import tempfile
from pathlib import Path

from results import Results, where
from tables import markdown, put

from roinspect.cli import main as roinspect
from roinspect.data.dataset import load_sample
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.data.width import defect_width

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("qualification")
DOCS = ROOT / "docs" / "validation.md"
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
INSPECTORS = {"Anna": (3.0, 0.02), "Bela": (3.5, 0.04), "Chris": (4.0, 0.03)}
"""Width that an inspector rejects with a probability of one half, and the share of false alarms."""
LOOKED_AT, LOOKS = 60, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", action="store_true", help="put the results into docs/validation.md")
    if parser.parse_args().tables:
        put(DOCS, TABLES)
        return
    folder = WORK / "qualification"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for words in (
        ["synth", "vials", "parts", "--count", "200"],
        ["synth", "vials", "challenge", "--count", "400", "--seed", "1"],
        ["train", "parts", "--out", "model"],
    ):
        made = words[2] if words[0] == "synth" else "model"
        if not Path(made).exists() and roinspect(words):
            raise SystemExit(f"roinspect {' '.join(words)} failed")
    found = re.search(r'```yaml title="plan.yaml"\n(.*?)```', DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    Path("plan.yaml").write_text(found[1], encoding="utf-8")
    Path("looks.csv").write_text(looks(Path("challenge")), encoding="utf-8")
    shutil.rmtree("plan.qualification", ignore_errors=True)
    if roinspect(["qualify", "plan.yaml"]) == 2:
        raise SystemExit("the plan cannot be used")
    figures = json.loads(Path("plan.qualification/qualification.json").read_text(encoding="utf-8"))
    names = ("met", "criteria", "counts", "curve", "no_curve", "agreement", "knapp", "disturbances")
    RESULTS.append({"verb": "qualify"}, {name: figures[name] for name in names})


def looks(data: Path) -> str:
    """The inspectors' looks at photographs at even intervals."""
    generator = random.Random(0)
    records = attach_roi(read_data(data), read_data(data).split("test"))
    lines = ["part,inspector,look,verdict"]
    for record in records[:: max(1, len(records) // LOOKED_AT)][:LOOKED_AT]:
        sample = load_sample(record, None)
        width = defect_width(sample.gt_mask, sample.roi_mask) if sample.label else 0.0
        for name, (a50, false_alarms) in INSPECTORS.items():
            chance = 1 / (1 + (a50 / width) ** 3) if sample.label else false_alarms
            lines += [
                f"{record.key},{name},{look},{'reject' if generator.random() < chance else 'accept'}"
                for look in range(1, LOOKS + 1)
            ]
    return "\n".join(lines) + "\n"


def table() -> str:
    run = RESULTS.latest(verb="qualify")
    rows = [
        [one["name"], one["limit"], one["found"], "met" if one["is_met"] else "not met"]
        for one in run.measures["criteria"]
    ]
    return f"{markdown(['limit', 'required', 'found', ''], rows)}\n\n{where([run])}"


TABLES = {"qualification": table}


if __name__ == "__main__":
    main()
