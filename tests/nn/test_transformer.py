"""Vision transformers: their patch tokens are a level, for images of any size that divides into patches."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from roinspect.errors import UserError  # noqa: E402
from roinspect.nn.backbone import Backbone, load_pretrained  # noqa: E402
from roinspect.nn.transformer import patch_side, with_positions  # noqa: E402

TINY, PATCH = "test_vit", 16
DINO = "vit_small_patch14_dinov2"


def file_of(name: str, folder: Path, **options: object) -> tuple[torch.nn.Module, str]:
    """A network with random weights, at its own size, and their file."""
    torch.manual_seed(0)
    whole = timm.create_model(name, **options).eval()
    path = folder / f"{name}.safetensors"
    save_file(whole.state_dict(), path)
    return whole, str(path)


def test_only_transformers_have_patches() -> None:
    assert (patch_side(TINY), patch_side(DINO), patch_side("vit_small_patch16_dinov3")) == (16, 14, 16)
    others = ("resnet18", "mixer_s32_224", "swin_tiny_patch4_window7_224", "beit_base_patch16_224", "auto")
    assert [patch_side(name) for name in others] == [None] * len(others)


def test_the_level_is_the_networks_patch_tokens(tmp_path: Path) -> None:
    whole, path = file_of(TINY, tmp_path)
    size_hw = whole.patch_embed.img_size
    backbone = Backbone(TINY, (PATCH,), size_hw).eval()
    load_pretrained(backbone, path)
    image = torch.rand(2, 3, *size_hw)
    with torch.no_grad():
        (level,) = backbone.levels(image)
        tokens = whole.forward_features((image - backbone.mean) / backbone.std)[:, whole.num_prefix_tokens :]
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens)
    assert level.shape[1:] == (backbone.channels, size_hw[0] // PATCH, size_hw[1] // PATCH)


@pytest.mark.parametrize("name", [DINO, "vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"])
def test_weights_of_a_foundation_model_fit_images_of_another_form(name: str, tmp_path: Path) -> None:
    whole, path = file_of(name, tmp_path)
    backbone = Backbone(name, (14,), (28, 56)).eval()
    load_pretrained(backbone, path)
    own, theirs = backbone.network.state_dict(), whole.state_dict()
    for key, tensor in own.items():
        assert key == "pos_embed" or tensor.equal(theirs[key]), key
    prefix = own["pos_embed"].shape[1] - 8
    assert own["pos_embed"][:, :prefix].equal(theirs["pos_embed"][:, :prefix]), "no patch, no interpolation"
    with torch.no_grad():
        (level,) = backbone.levels(torch.rand(1, 3, 28, 56))
    assert level.shape == (1, backbone.channels, 2, 4) and level.isfinite().all()


def test_a_grid_keeps_its_order_when_it_is_interpolated() -> None:
    """Rows stay rows: embeddings that say their row, and their column, still do."""
    network = Backbone(TINY, (PATCH,), (64, 128)).network
    count = network.pos_embed.shape[2]
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for values, axis in ((rows, 0), (columns, 1)):
        grid = values.flatten()[None, :, None].expand(1, 256, count)
        state = {"pos_embed": torch.cat((torch.zeros(1, 1, count), grid), 1)}
        resized = with_positions(network, state)["pos_embed"][0, 1:, 0].reshape(4, 8)
        assert (resized.diff(dim=axis) > 0).all()
        assert resized.diff(dim=1 - axis).abs().max() < 1e-4


def test_as_many_patches_of_another_form_are_another_grid() -> None:
    """An image of 64 x 256 has as many patches as one of 128 x 128, which the weights are from."""
    network = Backbone(TINY, (PATCH,), (64, 256)).network
    given = torch.rand_like(network.pos_embed)
    resized = with_positions(network, {"pos_embed": given})["pos_embed"]
    assert resized.shape == given.shape and not resized.equal(given)
    square = Backbone(TINY, (PATCH,), (128, 128)).network
    assert with_positions(square, {"pos_embed": given})["pos_embed"] is given


@pytest.mark.parametrize(
    ("size_hw", "fitting"),
    [
        ((256, 256), "--size 252x252 or 266x266"),
        ((252, 100), "--size 252x98 or 252x112"),
        ((9, 9), "--size 14x14;"),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_sizes_that_do(
    size_hw: tuple[int, int], fitting: str
) -> None:
    with pytest.raises(UserError, match=fitting) as caught:
        Backbone(DINO, (14,), size_hw)
    told = str(caught.value)
    assert f"{size_hw[0]}x{size_hw[1]} does not divide into the patches of {DINO}" in told
    assert "\n" not in told


def test_a_stride_that_is_not_the_patch_is_refused() -> None:
    with pytest.raises(UserError, match=r"no features at stride 8.*use one of 16"):
        Backbone(TINY, (8, 16), (64, 64))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        # Of another width, of another patch, a CNN.
        ("vit_tiny_patch16_224", r"of another shape \(cls_token \(1, 1, 192\) for \(1, 1, 384\)"),
        (
            "vit_small_patch16_224",
            r"1 of another shape \(patch_embed.proj.weight \(384, 3, 16, 16\) for \(384, 3, 14, 14\)",
        ),
        ("test_resnet", r"\d+ tensors missing, 0 of another shape \(blocks.0.attn.proj.bias"),
    ],
)
def test_weights_of_another_network_are_refused_by_what_does_not_fit(
    other: str, words: str, tmp_path: Path
) -> None:
    _, path = file_of(other, tmp_path)
    backbone = Backbone(DINO, (14,), (28, 28))
    before = {key: tensor.clone() for key, tensor in backbone.network.state_dict().items()}
    with pytest.raises(UserError, match=words) as caught:
        load_pretrained(backbone, path)
    assert path in str(caught.value) and "\n" not in str(caught.value)
    assert all(tensor.equal(before[key]) for key, tensor in backbone.network.state_dict().items())
