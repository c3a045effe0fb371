"""The server against its own OpenAPI document: schemathesis, with all its checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from results import Results

from roinspect.inspection.inspector import Inspector

from .process import Server, model

CONFIG = Path(__file__).resolve().parents[2] / "tests" / "server" / "schemathesis.toml"


def schema(bundle: Path, results: Results, *, examples: int, seed: int) -> None:
    """Generate requests inside and outside the schema; record the findings."""
    inspector = Inspector.load(bundle)
    os.environ["ROINSPECT_API_KEY"] = "key"
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(bundle, Path(scratch))
        words = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"]
        words += [f"http://127.0.0.1:{server.port}/openapi.json", "--header", "X-API-Key: key"]
        words += ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed)]
        words += ["--continue-on-failure"]
        done = subprocess.run(words, cwd=scratch, capture_output=True, text=True, check=False)
        server.stop()
        tracebacks = server.tracebacks()
    generated = re.search(r"(\d+) generated", done.stdout)
    settings = {"verb": "schema", "model": model(inspector), "examples_per_operation": examples}
    measures = {
        "requests": int(generated[1]) if generated else None,
        "finds_nothing": done.returncode == 0,
        "tracebacks": tracebacks,
    }
    results.append(settings, measures, seed=seed, packages=["schemathesis"])
    print(done.stdout if done.returncode else json.dumps(measures, indent=1))
