"""Settings and presets of GRD-Net. Equations and tables are those of the paper named in `grdnet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from roinspect.errors import UserError
from roinspect.nn.forms import NoiseSource, RoiForm
from roinspect.settings import Count, NotNegative, Positive, Share, check

Schedule = Literal["plateau", "cosine"]
Comparison = Literal["unet", "none"]
Context = Literal["l1", "huber"]
EncoderLoss = Literal["l1", "l2"]


@dataclass(frozen=True, slots=True)
class GrdNetSettings:
    """Settings of GRD-Net; the defaults are the `compact` preset.

    Attributes:
        roi: how the ROI enters the segmenter's loss, see `segmentation_loss`.
        roi_head: with ``roi="target"``, the U-Net predicts the probability of an anomaly and of the ROI per
            pixel, and multiplies them. The first is trained on all synthetic defects, the second on the ROI
            masks of the damaged images. Not in the paper: without it, the network learns about the ROI only
            at synthetic defects, and about defects only inside the ROI. False predicts the ROI separately,
            only to describe what an image shows.
        roi_head_weight: weight of the ROI head's loss. Small, as the focal loss of rare defects is small; at
            1 the ROI would dominate the training.
        segmenter: "unet" is the paper's discriminative network. "none" is the 2026 form: the map is the local
            1 - SSIM of the photograph and its repair, and the ROI is predicted by a few convolutions.
        context: the pixels' distance in Eq. 1, "l1" or, as in 2026, "huber".
        huber_delta: distance in [0, 1] from which Huber's loss is linear.
        noise_loss: weight of `noise_loss`, how well the noise was removed (2026); 0 is without.
        encoder_loss: distance of the latents, "l2" or "l1"; descriptions of GANomaly's differ.
        overlap_weight: w of Eq. 8, in [0, 1].
        width: channels of the generator's first stage.
        segmenter_width: channels of the U-Net's first level.
        stem: 2 folds 2 x 2 pixels into channels and works at half the resolution; 1 is the paper's.
        blocks: residual blocks per stage of the generator.
        latent: channels of the latent at 1/32 of the image.
        dense: features of a dense bottleneck (DRAE); None is fully convolutional (CRAE).
        residual: False is the paper's "vanilla" autoencoder (Table 1).
        adversarial: False trains without the discriminator.
        coordinates: give the U-Net the position of each pixel in the image.
        adversarial_weight: omega_1 of Eq. 2.
        contextual_weight: omega_2 of Eq. 2.
        encoder_weight: omega_3 of Eq. 2.
        l1_weight: omega_a of Eq. 1.
        ssim_weight: omega_b of Eq. 1.
        focal_gamma: gamma of Eq. 4.
        focal_alpha: weight of defective pixels in the focal loss; None for equal weights.
        compile: compile the networks by torch.compile before the first step, which takes minutes; validation
            and the bundle use them as they are.
        learning_rate: of Adam, for all three networks.
        schedule: "plateau" is Eq. 7; "cosine" decays to 1 % over the training.
        plateau_epochs: number of epochs without a lower held-out loss that count as a plateau.
        plateau_decay: alpha of Eq. 7: the rate is multiplied by exp(-alpha).
        rotation: largest rotation in degrees, in either direction.
        light: largest change of brightness and contrast, as a share.
        clean_share: share of images without a synthetic defect.
        beta: range of the synthetic defects' opacity.
        visible: pixels changed by at most this, in [0, 1], do not count as defective.
        pixel: weight of random colours per pixel as content of synthetic defects.
        blob: weight of plain colours with grain.
        patch: weight of patches of other images.
        shade: weight of darkened or lightened patches of the image itself.
        texture: weight of images from `texture_folder`.
        texture_folder: images of foreign textures.
        min_scale: lowest frequency of the Perlin noise: 2 ** min_scale cells along a side.
        max_scale: highest frequency.
        local_share: share of the synthetic defects that are a few small spots.
        smoothing: side of the map's mean filter for images of 256 pixels; scales with the image size.
    """

    roi: RoiForm = "target"
    roi_head: bool = True
    roi_head_weight: NotNegative = 0.05
    segmenter: Comparison = "unet"
    context: Context = "l1"
    huber_delta: Positive = 0.1
    noise_loss: NotNegative = 0.0
    encoder_loss: EncoderLoss = "l2"
    overlap_weight: Share = 1.0
    width: Count = 32
    segmenter_width: Count = 32
    stem: Literal[1, 2] = 2
    blocks: Count = 1
    latent: Count = 32
    dense: Count | None = None
    residual: bool = True
    adversarial: bool = True
    coordinates: bool = True
    adversarial_weight: float = 1.0
    contextual_weight: float = 50.0
    encoder_weight: float = 1.0
    l1_weight: float = 1.0
    ssim_weight: float = 1.0
    focal_gamma: NotNegative = 2.0
    focal_alpha: Share | None = None
    compile: bool = False
    learning_rate: Positive = 1e-3
    schedule: Schedule = "cosine"
    plateau_epochs: Count = 3
    plateau_decay: float = 0.1
    rotation: NotNegative = 5.0
    light: NotNegative = 0.1
    clean_share: Share = 0.2
    beta: tuple[float, float] = (0.4, 1.0)
    visible: Share = 0.05
    pixel: NotNegative = 0.5
    blob: NotNegative = 1.0
    patch: NotNegative = 0.5
    shade: NotNegative = 1.0
    texture: NotNegative = 0.0
    texture_folder: str | None = None
    min_scale: Annotated[int, Ge(0)] = 0
    max_scale: Annotated[int, Le(8)] = 6
    local_share: Share = 0.7
    smoothing: Count = 7

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "method.")
        if self.min_scale > self.max_scale:
            raise UserError(
                f"must be at most max_scale, {self.max_scale}, not {self.min_scale}", where="method.min_scale"
            )
        if len(self.beta) != 2 or not 0 <= self.beta[0] <= self.beta[1] <= 1:
            raise UserError(f"must be two numbers in [0, 1], in order, not {self.beta}", where="method.beta")
        if self.segmenter == "none" and self.roi not in ("target", "none"):
            raise UserError(
                f"{self.roi!r} is a loss of the U-Net, and there is none",
                where="method.roi",
                remedy='choose "target" or "none", or method.segmenter "unet"',
            )
        if not any(self.sources.values()):
            raise UserError("are all 0; one must be above", where=f"method.{', '.join(self.sources)}")
        if self.texture > 0 and self.texture_folder is None:
            raise UserError("is required where texture > 0", where="method.texture_folder")

    @classmethod
    def preset(cls, name: Literal["compact", "paper"]) -> GrdNetSettings:
        """Settings by name: "compact" trains on two CPU cores in minutes, "paper" has the paper's sizes."""
        if name == "compact":
            return cls()
        return cls(
            width=64,
            roi_head=False,
            segmenter_width=64,
            stem=1,
            blocks=2,
            coordinates=False,
            learning_rate=1e-4,
            schedule="plateau",
            rotation=90.0,
            light=0.0,
            clean_share=0.5,
            visible=0.0,
            pixel=1.0,
            blob=0.0,
            patch=0.0,
            shade=0.0,
            beta=(0.5, 1.0),
            local_share=0.0,
            smoothing=21,
        )

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """`TrainingSettings` of a preset; the paper does not give a batch size."""
        return {} if preset == "compact" else {"epochs": 200}

    @property
    def sources(self) -> dict[NoiseSource, float]:
        """Weights of the contents of synthetic defects, for `perturb`."""
        return {
            "pixel": self.pixel,
            "blob": self.blob,
            "patch": self.patch,
            "shade": self.shade,
            "texture": self.texture,
        }
