"""The generative-reconstructive part of GRD-Net: encoder-decoder-encoder generator and its discriminator.

With ``stem=2`` the networks work on half the grid: 2 x 2 pixels are folded into channels first and unfolded
last. No pixel is lost, and there are no full-resolution layers, which are slow on a CPU.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALVINGS = 5
"""The latent grid is 1 / 2**5 = 1/32 of the image (GRD-Net, section 4.4.1)."""


class ResidualBlock(nn.Module):
    """Pre-activation block (ResNet v2): x + conv(relu(norm(conv(relu(norm(x)))))) (GRD-Net, Fig. 5).

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: 2 halves the grid.
        is_residual: False omits the skip connection ("vanilla", the ablation of Table 1).

    Example:
        >>> ResidualBlock(8, 16, stride=2)(torch.rand(1, 8, 32, 32)).shape
        torch.Size([1, 16, 16, 16])
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, is_residual: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.stride = stride
        self.is_residual = is_residual
        self.match = (
            nn.Conv2d(inputs, outputs, 1, bias=False) if is_residual and inputs != outputs else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        residual: Tensor = self.conv1(F.relu(self.norm1(x), inplace=True))
        residual = self.conv2(F.relu(self.norm2(residual), inplace=True))
        if not self.is_residual:
            return residual
        shortcut: Tensor = self.match(F.avg_pool2d(x, 2) if self.stride == 2 else x)
        return residual + shortcut


def stage_widths(width: int, stages: int, *, most: int = 8) -> list[int]:
    """Channels of each stage: doubled at every halving, up to `most` times the first.

    Example:
        >>> stage_widths(16, 5)
        [16, 32, 64, 128, 128, 128]
    """
    return [width * min(2**stage, most) for stage in range(stages + 1)]


class Encoder(nn.Module):
    """Image to latent at 1/32 of its size.

    Args:
        width: channels of the first stage.
        latent: channels of the latent.
        stem: 1, or 2 to fold 2 x 2 pixels first.
        blocks: residual blocks per stage; the paper has two.
        is_residual: see `ResidualBlock`.

    Example:
        >>> Encoder(8, 32, stem=1, blocks=1, is_residual=True)(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 32, 2, 3])
    """

    def __init__(self, width: int, latent: int, *, stem: int, blocks: int, is_residual: bool) -> None:
        super().__init__()
        widths = stage_widths(width, HALVINGS - (stem - 1))
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(stem) if stem > 1 else nn.Identity(),
            nn.Conv2d(3 * stem**2, width, 3, padding=1),
        ]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                ResidualBlock(
                    inputs if block == 0 else outputs,
                    outputs,
                    stride=2 if block == 0 else 1,
                    is_residual=is_residual,
                )
                for block in range(blocks)
            ]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), nn.Conv2d(widths[-1], latent, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, latent, H / 32, W / 32)."""
        return self.layers(image)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latent at 1/32 of the image's size to the image; the mirror of `Encoder`, with the same arguments."""

    def __init__(self, width: int, latent: int, *, stem: int, blocks: int, is_residual: bool) -> None:
        super().__init__()
        widths = stage_widths(width, HALVINGS - (stem - 1))[::-1]
        layers: list[nn.Module] = [nn.Conv2d(latent, widths[0], 1)]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                ResidualBlock(inputs if block == 0 else outputs, outputs, is_residual=is_residual)
                for block in range(blocks)
            ]
            # Upsampling comes last, so that convolutions run on the coarser grid.
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
        layers += [
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 3 * stem**2, 3, padding=1),
            nn.PixelShuffle(stem) if stem > 1 else nn.Identity(),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        """(N, latent, h, w) to logits of the image (N, 3, 32 h, 32 w)."""
        return self.layers(latent)  # type: ignore[no-any-return]


class DenseBottleneck(nn.Module):
    """Latent through one dense vector (the DRAE of section 4.4.1); ties the network to one image size."""

    def __init__(self, latent: int, grid_hw: tuple[int, int], features: int) -> None:
        super().__init__()
        self.shape = (latent, *grid_hw)
        flat = latent * grid_hw[0] * grid_hw[1]
        self.squeeze = nn.Linear(flat, features)
        self.expand = nn.Linear(features, flat)

    def forward(self, latent: Tensor) -> Tensor:
        """(N, latent, h, w) to the same shape."""
        return self.expand(F.relu(self.squeeze(latent.flatten(1)))).view(-1, *self.shape)  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """The part of the generator that repairs images; inference needs nothing else.

    Args:
        size_hw: image height and width, multiples of 32.
        width: channels of the first stage.
        latent: channels of the latent.
        stem: 1, or 2 to fold 2 x 2 pixels first.
        blocks: residual blocks per stage.
        is_residual: False is the paper's "vanilla".
        dense: features of a dense bottleneck (DRAE, 2048 in the paper); None is convolutional (CRAE).

    Example:
        >>> repair = Autoencoder((64, 96), width=8, latent=32, stem=1, blocks=1, is_residual=True)
        >>> repaired, latent = repair(torch.rand(1, 3, 64, 96))
        >>> repaired.shape, latent.shape
        (torch.Size([1, 3, 64, 96]), torch.Size([1, 32, 2, 3]))
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        *,
        width: int,
        latent: int,
        stem: int,
        blocks: int,
        is_residual: bool,
        dense: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, latent, stem=stem, blocks=blocks, is_residual=is_residual)
        grid_hw = (size_hw[0] // 2**HALVINGS, size_hw[1] // 2**HALVINGS)
        self.bottleneck = nn.Identity() if dense is None else DenseBottleneck(latent, grid_hw, dense)
        self.decoder = Decoder(width, latent, stem=stem, blocks=blocks, is_residual=is_residual)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1] to the repaired image, same shape and range, and the latent."""
        latent = self.encoder(image)
        return torch.sigmoid(self.decoder(self.bottleneck(latent))), latent


class Discriminator(nn.Module):
    """Real or generated, by strided convolutions as in GANomaly; the generator matches its features.

    Args:
        width: channels of the first stage.
        stem: 1, or 2 to fold 2 x 2 pixels first.

    Example:
        >>> features, logit = Discriminator(8, stem=1)(torch.rand(2, 3, 64, 64))
        >>> logit.shape
        torch.Size([2])
    """

    def __init__(self, width: int, *, stem: int) -> None:
        super().__init__()
        widths = stage_widths(width, 3)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(stem) if stem > 1 else nn.Identity(),
            nn.Conv2d(3 * stem**2, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) to the features (N, C, h, w) and the logit of "real" (N,)."""
        features = self.features(image)
        return features, self.head(features).mean((1, 2, 3))
