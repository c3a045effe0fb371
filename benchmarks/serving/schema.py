"""The server against its own OpenAPI document: schemathesis, with every check it has."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from roinspect.inspection.inspector import Inspector

from .process import Server, model, save

CONFIG = Path(__file__).resolve().parents[2] / "tests" / "server" / "schemathesis.toml"


def schema(bundle: Path, out: Path, *, examples: int, seed: int) -> None:
    """Generate requests that keep to the schema and others that do not; write what was found."""
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
    found = {
        "model": model(inspector),
        "schemathesis": importlib.metadata.version("schemathesis"),
        "examples_per_operation": examples,
        "seed": seed,
        "requests": int(generated[1]) if generated else None,
        "finds_nothing": done.returncode == 0,
        "tracebacks": tracebacks,
    }
    save(out, found)
    print(done.stdout if done.returncode else json.dumps(found, indent=1))
