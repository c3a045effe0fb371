"""Stress tests of the server, each in its own processes.

    python benchmarks/server.py soak BUNDLE      # 30 minutes at saturation
    python benchmarks/server.py kill BUNDLE      # kill -9 under load, with an unreliable receiver
    python benchmarks/server.py schema BUNDLE    # schemathesis, all checks
    python benchmarks/server.py fuzz BUNDLE      # 10,000 malformed bodies
    python benchmarks/server.py memory BUNDLE    # one photograph of 24 megapixels, and 24 at once
    python benchmarks/server.py tables           # puts the results into docs/serve.md

BUNDLE is any bundle: `roinspect demo` creates one in half a minute; with `roinspect export` it needs no
    torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from results import Results
from serving.fuzz import fuzz
from serving.kill import kill
from serving.memory import memory
from serving.schema import schema
from serving.soak import soak
from serving.tables import tables
from tables import put

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("server")
DOCS, TABLES = ROOT / "docs" / "serve.md", tables(RESULTS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("soak")
    made.add_argument("bundle", type=Path)
    made.add_argument("--seconds", type=float, default=1800)
    made.add_argument("--senders", type=int, default=24)
    made.add_argument("--slow", type=int, default=2, help="slow senders, of bodies and of headers each")
    made.add_argument("--quiet", action="store_true", help="nothing else runs on the machine")
    made = commands.add_parser("kill")
    made.add_argument("bundle", type=Path)
    made.add_argument("--kills", type=int, default=25)
    made = commands.add_parser("fuzz")
    made.add_argument("bundle", type=Path)
    made.add_argument("--count", type=int, default=10_000)
    made.add_argument("--seed", type=int, default=0)
    made = commands.add_parser("schema")
    made.add_argument("bundle", type=Path)
    made.add_argument("--examples", type=int, default=300, help="per operation")
    made.add_argument("--seed", type=int, default=0)
    made = commands.add_parser("memory")
    made.add_argument("bundle", type=Path)
    made.add_argument("--count", type=int, default=24)
    commands.add_parser("tables")
    given = parser.parse_args()
    if given.command == "soak":
        soak(
            given.bundle,
            RESULTS,
            "soak-quiet" if given.quiet else "soak",
            seconds=given.seconds,
            senders=given.senders,
            slow=given.slow,
        )
    elif given.command == "kill":
        kill(given.bundle, RESULTS, kills=given.kills)
    elif given.command == "fuzz":
        fuzz(given.bundle, RESULTS, count=given.count, seed=given.seed)
    elif given.command == "schema":
        schema(given.bundle, RESULTS, examples=given.examples, seed=given.seed)
    elif given.command == "memory":
        memory(given.bundle, RESULTS, count=given.count)
    else:
        put(DOCS, TABLES)


if __name__ == "__main__":
    main()
