"""Docstrings say `Example:`; the API reference's parser knows `Examples:`."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Renames the section of every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for every function, class and module that is read."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
