"""Networks of the generator: shapes, the folded grid, the ablations, and what is learnt from what."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from roinspect.nn.autoencoder import (  # noqa: E402
    HALVINGS,
    Autoencoder,
    Decoder,
    DenseBottleneck,
    Discriminator,
    Encoder,
    ResidualBlock,
    stage_widths,
)


def small(size_hw: tuple[int, int] = (64, 64), **changes: object) -> Autoencoder:
    options = {"width": 4, "latent": 6, "stem": 2, "blocks": 1, "is_residual": True} | changes
    return Autoencoder(size_hw, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size_hw", [(64, 64), (64, 160), (96, 64)])
@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("is_residual", [True, False])
@pytest.mark.parametrize("dense", [None, 10])
def test_an_image_comes_back_in_its_shape_and_range(
    size_hw: tuple[int, int], stem: int, blocks: int, is_residual: bool, dense: int | None
) -> None:
    net = small(size_hw, stem=stem, blocks=blocks, is_residual=is_residual, dense=dense).eval()
    with torch.no_grad():
        image, latent = net(torch.rand(1, 3, *size_hw))
    assert image.shape == (1, 3, *size_hw) and image.min() >= 0 and image.max() <= 1
    assert latent.shape == (1, 6, size_hw[0] // 2**HALVINGS, size_hw[1] // 2**HALVINGS)


@pytest.mark.parametrize("stem", [1, 2])
def test_encoder_and_decoder_mirror_each_other(stem: int) -> None:
    options = {"stem": stem, "blocks": 2, "is_residual": True}
    encoder, decoder = Encoder(4, 6, **options), Decoder(4, 6, **options)  # type: ignore[arg-type]

    def shapes(net: nn.Module) -> list[tuple[int, int]]:
        blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
        # The first of each stage's two blocks changes the width.
        return [(block.conv1.in_channels, block.conv2.out_channels) for block in blocks][::2]

    down, up = shapes(encoder), shapes(decoder)
    assert len(down) == HALVINGS - stem + 1
    assert up == [(outputs, inputs) for inputs, outputs in reversed(down)]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_without_its_branch_is_the_shortcut(stride: int) -> None:
    block = ResidualBlock(4, 4, stride=stride)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x if stride == 1 else nn.functional.avg_pool2d(x, 2))
    plain = ResidualBlock(4, 4, stride=stride, is_residual=False)
    nn.init.zeros_(plain.conv2.weight)
    assert not plain(x).any()


def test_vanilla_differs_by_the_shortcuts_alone() -> None:
    residual, vanilla = small().state_dict(), small(is_residual=False).state_dict()
    missing = set(residual) - set(vanilla)
    assert set(vanilla) <= set(residual) and missing and all(".match." in name for name in missing)


def test_a_block_leaves_its_input_alone() -> None:
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    ResidualBlock(4, 8, stride=2)(x)
    assert torch.equal(x, before)


def test_widths_double_up_to_eight_times() -> None:
    assert stage_widths(4, 5) == [4, 8, 16, 32, 32, 32]


def test_only_the_convolutional_bottleneck_takes_any_size() -> None:
    image = torch.rand(1, 3, 96, 128)
    assert small().eval()(image)[0].shape == image.shape
    with pytest.raises(RuntimeError):
        small(dense=10).eval()(image)


def test_the_dense_bottleneck_mixes_all_places() -> None:
    dense = DenseBottleneck(2, (4, 4), 32)
    latent = torch.randn(1, 2, 4, 4, requires_grad=True)
    dense(latent)[0, 0, 0, 0].backward()
    assert latent.grad is not None and latent.grad.count_nonzero() == latent.numel()


@pytest.mark.parametrize("changes", [{}, {"dense": 8}, {"is_residual": False}, {"stem": 1}])
def test_every_weight_learns(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = small(**changes)
    image, _ = net(torch.rand(2, 3, 64, 64))
    (image - 0.3).square().sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name


@pytest.mark.parametrize("stem", [1, 2])
def test_the_discriminator_gives_features_and_one_logit_each(stem: int) -> None:
    net = Discriminator(4, stem=stem)
    image = torch.rand(3, 3, 64, 96, requires_grad=True)
    features, logit = net(image)
    assert features.shape == (3, 32, 64 // (16 * stem), 96 // (16 * stem)) and logit.shape == (3,)
    logit.sum().backward()
    assert image.grad is not None and image.grad.any()
