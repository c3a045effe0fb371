"""Visual inspection that is taught where to look; the trained model needs no mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roinspect.version import __version__

if TYPE_CHECKING:
    from roinspect.errors import UserError
    from roinspect.inspection.inspector import Inspector, Verdict

__all__ = ["Inspector", "UserError", "Verdict", "__version__"]

_HOMES = {"Inspector": "inspection.inspector", "UserError": "errors", "Verdict": "inspection.inspector"}


def __getattr__(name: str) -> Any:
    # Imported on first use: `import roinspect` alone stays light.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
