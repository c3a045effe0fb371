"""`python -m roinspect`: the same as the command `roinspect`."""

from roinspect.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
