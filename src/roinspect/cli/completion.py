"""`roinspect completion`."""

from __future__ import annotations

import contextlib
import importlib
import io
import re

from roinspect.cli.arguments import command_parser, parse

_SCRIPT = """\
{zsh}_roinspect() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{verbs}"
    elif [[ "$word" == -* ]]; then
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}
        esac
    elif [ "${{COMP_WORDS[1]}}" = train ] && [ "$COMP_CWORD" -eq 2 ]; then
        words="{methods}"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _roinspect roinspect
"""
"""Where no word fits, the shell completes file names."""


def run(arguments: list[str]) -> int:
    """Print a script for the shell."""
    parser = command_parser("completion", "bash|zsh")
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell to print a script for")
    options = parse(parser, arguments)

    from roinspect.cli import VERBS
    from roinspect.cli.roi import VERBS as ROI_VERBS
    from roinspect.inspection.bundle import SEGMENTER
    from roinspect.methods.registry import DEFAULT, METHODS

    methods = [*METHODS, SEGMENTER]
    # The more special patterns come first, as the shell takes the first that fits.
    commands = {f"train {method}": f"train {method}" for method in methods}
    commands |= {f"roi {verb}": f"roi {verb}" for verb in ROI_VERBS}
    commands |= {f"{verb} *": f"train {DEFAULT}" if verb == "train" else verb for verb in VERBS}
    cases = [f'            "{pattern}") words="{_options(words)}" ;;' for pattern, words in commands.items()]
    print(
        _SCRIPT.format(
            zsh="autoload -U +X bashcompinit && bashcompinit\n" if options.shell == "zsh" else "",
            verbs=" ".join(VERBS),
            methods=" ".join(methods),
            cases="\n".join(cases).replace(' *")', ' "*)'),
        ),
        end="",
    )
    return 0


def _options(command: str) -> str:
    """The options in a command's own help."""
    verb, *rest = command.split()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        importlib.import_module(f"roinspect.cli.{verb}").run([*rest, "--help"])
    names = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", shown.getvalue()))
    # --method.KEY stands for many.
    return " ".join(sorted(name for name in names if name.islower()))
