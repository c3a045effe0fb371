"""A method as another package brings it: how far a part's colours lie from those of good parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from roinspect.data.loader import Batch
from roinspect.methods.method import InspectionGraph, Look, Method


@dataclass(frozen=True)
class ToySettings:
    """How it learns.

    Args:
        learning_rate: of gradient descent.
    """

    learning_rate: float = 0.1

    @classmethod
    def preset(cls, name: str) -> ToySettings:
        return cls()

    def training(self, preset: str) -> dict[str, int]:
        return {"steps": 3}


class ToyGraph(InspectionGraph):
    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def look(self, image: Tensor) -> Look:
        anomaly_map = (image - self.colour[:, None, None]).square().mean(1, keepdim=True)
        return Look(anomaly_map.amax((1, 2, 3)), anomaly_map, torch.ones_like(anomaly_map))


class Toy(Method):
    name: ClassVar[str] = "toy"
    trains_on: ClassVar[Literal["good", "all", "roi"]] = "good"
    settings_class: ClassVar[type] = ToySettings
    fills_budget: ClassVar[bool] = False
    default_steps: ClassVar[int] = 3

    def __init__(self, settings: ToySettings, size_hw: tuple[int, int], **options: int) -> None:
        super().__init__(settings, size_hw, **options)
        self.graph = ToyGraph()

    def inspection_graph(self) -> ToyGraph:
        return self.graph

    @classmethod
    def build_graph(cls, settings: Any, size_hw: tuple[int, int]) -> ToyGraph:
        return ToyGraph()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.settings.learning_rate)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._loss(batch, "held-out")

    def _loss(self, batch: Batch, stage: str) -> Tensor:
        batch = batch.to_float()
        loss = self.graph.look(batch.image).anomaly_map.mean()
        self.note(stage, {"colour": loss}, len(batch.label))
        return loss
