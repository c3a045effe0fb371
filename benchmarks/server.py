"""Proofs of the server, each in processes of its own.

    python benchmarks/server.py soak BUNDLE      # 30 minutes at saturation
    python benchmarks/server.py kill BUNDLE      # kill -9 under load, with a receiver that comes and goes
    python benchmarks/server.py schema BUNDLE    # schemathesis, all checks
    python benchmarks/server.py fuzz BUNDLE      # 10,000 bodies that are none
    python benchmarks/server.py tables           # puts the results into docs/serve.md

BUNDLE is any bundle: `roinspect demo` makes one in half a minute, `roinspect export` rids it of torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from serving.fuzz import fuzz
from serving.kill import kill
from serving.schema import schema
from serving.soak import soak
from serving.tables import tables
from tables import put

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "server"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("soak")
    made.add_argument("bundle", type=Path)
    made.add_argument("--seconds", type=float, default=1800)
    made.add_argument("--senders", type=int, default=24)
    made.add_argument("--slow", type=int, default=2, help="senders that dribble, of bodies and of headers")
    made.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    made = commands.add_parser("kill")
    made.add_argument("bundle", type=Path)
    made.add_argument("--kills", type=int, default=25)
    made = commands.add_parser("fuzz")
    made.add_argument("bundle", type=Path)
    made.add_argument("--count", type=int, default=10_000)
    made.add_argument("--seed", type=int, default=0)
    made = commands.add_parser("schema")
    made.add_argument("bundle", type=Path)
    made.add_argument("--examples", type=int, default=300, help="of each operation")
    made.add_argument("--seed", type=int, default=0)
    commands.add_parser("tables")
    given = parser.parse_args()
    if given.command == "soak":
        soak(given.bundle, given.out, seconds=given.seconds, senders=given.senders, slow=given.slow)
    elif given.command == "kill":
        kill(given.bundle, RESULTS / "kill.json", kills=given.kills)
    elif given.command == "fuzz":
        fuzz(given.bundle, RESULTS / "fuzz.json", count=given.count, seed=given.seed)
    elif given.command == "schema":
        schema(given.bundle, RESULTS / "schema.json", examples=given.examples, seed=given.seed)
    else:
        put(ROOT / "docs" / "serve.md", tables(RESULTS))


if __name__ == "__main__":
    main()
