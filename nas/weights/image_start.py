"""Image weights that the candidates of a search begin with: which networks they can fill, and why
not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from nas.architecture import Architecture
from nas.errors import NasError
from nas.models.network import Network, build_part
from nas.weights.checkpoints import check_kinds, load_state
from nas.weights.fill import check_depths, converted, fill_image_weights, stem_notes
from nas.weights.filled import Filled
from nas.weights.image_networks import ImageNetwork, read_image_network
from nas.weights.own_images import architecture_beside, is_image_network, read_own_images
from nas.weights.own_state import short_names
from nas.weights.slots import Place, places

ALLOWED = "weights of an image network, or a folder of `nas train` whose network takes clips of one frame"


@dataclass(frozen=True)
class ImageStart:
    """An image network to begin with.

    Attributes:
        source: Its name for messages.
        image: Its tensors.
    """

    source: str
    image: ImageNetwork
    _reasons: dict[Hashable, str | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def read(cls, source: str | Path) -> Self:
        """Reads a checkpoint: a file, a name on the Hugging Face hub, or the folder of a network
        that `nas train` trained on clips of one frame.

        Raises:
            NasError: It cannot be read, or is of no image network.
        """
        name, state = Path(source).name, load_state(source)
        check_kinds(state, name)
        if short_names(state):
            architecture = architecture_beside(source)
            if architecture is None or not is_image_network(architecture):
                frames = (
                    "no architecture.yaml beside it" if architecture is None else f"{architecture.input.frames} frames"
                )
                raise NasError(f"init {name!r} is a network of this package with {frames}; allowed: {ALLOWED}")
            return cls(name, read_own_images(state, architecture, name))
        image = read_image_network(state, name)
        if image.kind.video:
            raise NasError(f"init {name!r} has patches with an extent in time; allowed: {ALLOWED}")
        return cls(name, image)

    def fill(self, model: Network) -> Filled:
        """Copies the weights into a network; see `nas.weights.fill.fill`.

        Raises:
            NasError: They do not fit.
        """
        return fill_image_weights(model, self.image, (), self.source)

    def misfits(self, architecture: Architecture) -> list[str]:
        """What keeps the weights from filling a network: a sentence for each part that they do not
        fit, and for each layer that a stage has too few or too many; empty where they fill it.

        No network is built: each kind of part is looked at once, on the meta device.
        """
        found = []
        all_places = places(architecture)
        try:
            check_depths(all_places, self.image, self.source)
        except NasError as error:
            layers = Counter(place.at.split(".")[1] for place in all_places if place.is_layer)
            wanted = {str(stage): depth for stage, depth in enumerate(self.image.depths)}
            missing = sum(abs(layers[stage] - wanted.get(stage, 0)) for stage in {*layers, *wanted})
            found += [str(error)] * max(1, missing)
        reasons = (self._misfit(place) for place in all_places)
        return found + [reason for reason in reasons if reason]

    def misfit(self, architecture: Architecture) -> str | None:
        """The first of `misfits`."""
        return next(iter(self.misfits(architecture)), None)

    def _misfit(self, place: Place) -> str | None:
        part = place.part
        key = (replace(part, path=""), place.at, place.pooled)
        if key not in self._reasons:
            self._reasons[key] = self._found_misfit(place)
        return self._reasons[key]

    def _found_misfit(self, place: Place) -> str | None:
        try:
            if place.part.path == "stem":
                stem_notes(place.part.config, self.image, self.source)
            slots = list(place.slots(self.image))
            missing = [slot.source for slot in slots if slot.source and slot.source not in self.image]
            if missing:
                raise NasError(
                    f"{self.source}, {self.image.described}, has no {missing[0]!r}; allowed: networks that ask for less"
                )
            with torch.device("meta"):
                targets = dict(build_part(place.part).named_parameters()) if slots else {}
            for slot in slots:
                converted(slot.inside(place.name), targets[slot.target], self.shapes, self.source)
        except NasError as error:
            return str(error)
        return None

    @cached_property
    def shapes(self) -> ImageNetwork:
        """The image network without its numbers."""
        return replace(self.image, tensors={name: tensor.to("meta") for name, tensor in self.image.tensors.items()})
