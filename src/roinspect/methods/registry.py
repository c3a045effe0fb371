"""The available methods: ours, and those of other packages. Imports no torch.

A package adds a method to every verb and to the studio by an entry point:

    [project.entry-points."roinspect.methods"]
    toy = "toy_package.method:Toy"        # a subclass of roinspect.methods.method.Method whose name is "toy"
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from roinspect.inspection.bundle import SEGMENTER

GROUP = "roinspect.methods"

BUILT_IN = {
    "ceod": "roinspect.methods.ceod:Ceod",
    "grdnet": "roinspect.methods.grdnet:GrdNet",
    "roibank": "roinspect.methods.roibank:RoiBank",
}

_SETTINGS = {
    "ceod": "roinspect.methods.ceod_settings:CeodSettings",
    "grdnet": "roinspect.methods.grdnet_settings:GrdNetSettings",
    "roibank": "roinspect.methods.roibank_settings:RoiBankSettings",
}
"""Those of our own methods, which a command line reads without torch."""

# Not a method, but `roinspect train` accepts its name.
_TAKEN = BUILT_IN | {SEGMENTER: "roinspect.segmenter.segmenter:Segmenter"}

DEFAULT = "roibank"
"""The default method."""


def _others() -> dict[str, EntryPoint]:
    others: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        taken = _TAKEN.get(point.name) or (others[point.name].value if point.name in others else None)
        if taken is None:
            others[point.name] = point
        elif taken != point.value:
            logging.getLogger(__name__).warning(f"method {point.name}: {taken} is used, not {point.value}")
    return others


OTHERS: Mapping[str, EntryPoint] = _others()
"""Methods of other packages, by name."""

METHODS: dict[str, str] = BUILT_IN | {name: point.value for name, point in OTHERS.items()}
"""The location of each method, MODULE:CLASS; imported on use."""


def settings_class(name: str) -> type[Any]:
    """A method's settings, without torch if it is one of ours.

    Raises:
        UserError: there is no such method, or its package is damaged.
    """
    if name not in _SETTINGS:
        from roinspect.methods.method import method_class

        return method_class(name).settings_class
    module, attribute = _SETTINGS[name].split(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
