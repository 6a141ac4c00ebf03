"""One encoder for clips and images (TubeViT, CVPR 2023), with a head for each."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from nas.architecture import Architecture
from nas.architecture.heads import SimilarityHead
from nas.errors import NasError
from nas.models.chain import Chain
from nas.models.network import Network, build_part
from nas.models.stems.tube import TubeEmbed

PREFIX = "image_head."  # of the second head's parameters


class TwoHeads(Network):
    """A network with a second head of the same kind for the classes of images.

    The names of its state are those of the network, and `image_head.…`.

    Attributes:
        image_architecture: What classifies images: the same encoder with the second head, of one
            frame where the network takes single frames, else of the clip's frames, all of which
            show the image.
        image_head: From the last map of an image to the logits of its classes.
    """

    def __init__(self, network: Network, image_classes: int) -> None:
        """Takes the parts of a network, which are shared, and makes the second head.

        Args:
            network: Any whose head has weights for its classes.
            image_classes: Number of classes of the images.

        Raises:
            NasError: As `image_architecture`.
        """
        Chain.__init__(self, dict(network.parts.items()), network.gated)  # parts are not built again
        architecture = self.architecture = network.architecture
        self.image_architecture = image_architecture(architecture, image_classes)
        part = architecture.parts()[-1]
        self.image_head: nn.Module = build_part(replace(part, output=replace(part.output, channels=image_classes)))
        self.image_head.to(next(network.parameters()).device)

    def forward(self, clip_BCTHW: Tensor, image: bool = False) -> Tensor:
        """Logits of clips; with `image` those of images (B, 3, 1, H, W)."""
        if not image:
            return super().forward(clip_BCTHW)
        frames = self.image_architecture.input.frames
        repeated = clip_BCTHW.permute(0, 2, 3, 4, 1).repeat(1, frames, 1, 1, 1).permute(0, 4, 1, 2, 3)
        self._check(repeated)
        logits: Tensor = self.image_head(self.encode(repeated))
        return logits

    def clip_state(self) -> dict[str, Tensor]:
        """The state of the network for clips."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(PREFIX)}

    def image_state(self) -> dict[str, Tensor]:
        """The state of the network for images, that of `image_architecture`."""
        state, stem = {}, self.parts["stem"]
        for name, value in self.clip_state().items():
            if isinstance(stem, TubeEmbed) and name.startswith("parts.stem."):
                short = stem.image_name(name.removeprefix("parts.stem."))
                if short is not None:
                    state[f"parts.stem.{short}"] = value
            elif not name.startswith("parts.head."):
                state[name] = value
        return state | {f"parts.head.{name}": value for name, value in self.image_head.state_dict().items()}


def image_architecture(architecture: Architecture, classes: int) -> Architecture:
    """The network for images that shares a video network's encoder; see `TwoHeads`.

    Raises:
        NasError: The head scores vectors of classes, of which images have none.
    """
    if isinstance(architecture.head, SimilarityHead):
        raise NasError(
            f"head {architecture.head.op!r} scores vectors of classes, of which images have none; allowed: a network "
            "with another head"
        )
    frames = 1 if architecture.takes_single_frames else None
    return architecture.resized(frames, num_classes=classes)
