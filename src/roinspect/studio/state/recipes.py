"""The use of each model, in FOLDER/.roinspect/recipes.json: product, operator and camera folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from roinspect.studio.state.project import Project
from roinspect.studio.state.store import read_json, write_json


@dataclass(frozen=True, slots=True)
class Recipe:
    """The use of one model; "" where nothing was entered."""

    product: str = ""
    operator: str = ""
    camera: str = ""
    """Folder that the camera writes into."""


def recipe(project: Project, model: str | None) -> Recipe:
    """The recipe of a model."""
    saved = read_json(project.state / "recipes.json")
    entry = saved.get(model or "") if isinstance(saved, dict) else None
    known = {field.name for field in fields(Recipe)}
    return Recipe(**{k: v for k, v in (entry or {}).items() if k in known and isinstance(v, str)})


def keep(project: Project, model: str, **changed: str) -> Recipe:
    """Change fields of a model's recipe.

    Raises:
        UserError: the file cannot be written.
    """
    with project.lock:
        saved = read_json(project.state / "recipes.json")
        new = replace(recipe(project, model), **{name: text.strip() for name, text in changed.items()})
        write_json(
            project.state / "recipes.json", (saved if isinstance(saved, dict) else {}) | {model: asdict(new)}
        )
    return new


def title(project: Project, model: str) -> str:
    """The model's name, after that of its product."""
    product = recipe(project, model).product
    return f"{product} ({model})" if product else model
