"""The small CNN that CEOD trains from scratch (CEOD, section 5)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

WIDTHS = (16, 16, 32, 32, 64, 64, 128, 128)


class CustomNet(nn.Module):
    """Eight blocks of 3 x 3 convolution, batch norm and ReLU, pooling after every second, and a linear head.

    The widths were found by search: with two classes they give the paper's 294,994 trainable parameters and,
    including bias, norm, ReLU and pooling, its 1.33 GFLOP at 224 x 224.

    Args:
        classes: number of logits.

    Example:
        >>> sum(p.numel() for p in CustomNet().parameters())
        294994
    """

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False), start=1):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            if number % 2 == 0:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.norm = nn.BatchNorm1d(WIDTHS[-1])
        self.classifier = nn.Linear(WIDTHS[-1], classes)

    def forward_features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to the last block's output (N, 128, H / 16, W / 16)."""
        return cast(Tensor, self.features(image))

    def forward_head(self, features: Tensor) -> Tensor:
        """Features (N, 128, h, w) to logits (N, K)."""
        return cast(Tensor, self.classifier(self.norm(features.mean((2, 3)))))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, K)."""
        return self.forward_head(self.forward_features(image))
