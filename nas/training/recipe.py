"""How a network is trained, as plain values: what a recipe file holds. Defaults are a proxy's."""

from __future__ import annotations

from dataclasses import field, replace
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nas.documents import read_yaml
from nas.errors import NasError, brief

_CONFIG = ConfigDict(extra="forbid")
# Types are strict: "12" and 2.5 are no numbers of epochs.
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
BelowOne = Annotated[float, Field(ge=0, lt=1, strict=True)]
PositiveShare = Annotated[float, Field(gt=0, le=1, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


@dataclass(frozen=True, config=_CONFIG)
class Augmentation:
    """How training clips are varied; every frame of a clip in the same way.

    Attributes:
        scale: Least share of a clip's area that a random window takes (up to all of it, sides 3:4
            to 4:3), resized to the input; None cuts a window of the input's size.
        time: Least share of a clip's length that is shown, resampled to the input's frames.
        overhead: Clips are seen from above: turned by quarters and mirrored in both directions,
            where the data may be mirrored.
        jitter: Largest relative change of brightness, contrast and saturation, each.
        operations: RandAugment (NeurIPS 2020): so many operations for each clip, drawn anew.
        magnitude: Strength of those operations, 0 to 10.
        erasing: Share of clips of which a random box is replaced by the clip's mean colour.
    """

    scale: PositiveShare | None = None
    time: PositiveShare = 1.0
    overhead: Flag = False
    jitter: BelowOne = 0.0
    operations: Annotated[int, Field(ge=0, le=8, strict=True)] = 0
    magnitude: Annotated[float, Field(ge=0, le=10, strict=True)] = 9.0
    erasing: Share = 0.0


@dataclass(frozen=True, config=_CONFIG)
class Stage:
    """A part of a training that sees smaller clips and leaves some parameters as they are.

    Attributes:
        frames: Share of the clip's frames that are shown, evenly spread.
        size: Share of its height and width, to which its frames are resized.
        fixed: Kinds of parameters that are not trained, by the names that layers give them
            (`parameter_kinds`): `temporal`, `spatial`.
        epochs: Passes over the training clips until the next stage has its turn.
    """

    frames: PositiveShare = 1.0
    size: PositiveShare = 1.0
    fixed: tuple[str, ...] = ()
    epochs: Count = 1

    @property
    def whole(self) -> bool:
        """Whether its clips are those of no stage."""
        return self.frames == self.size == 1

    def extent(self, frames: int, size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """Frames and (height, width) of the clips that a network of such an input gets, at least
        one each.
        """
        height, width = (max(1, round(side * self.size)) for side in size)
        return max(1, round(frames * self.frames)), (height, width)


WHOLE = Stage()


@dataclass(frozen=True, config=_CONFIG)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips per step.
        lr: Peak learning rate: a linear warm-up, then a cosine to zero.
        weight_decay: Not on biases, norms and other one-dimensional parameters.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        seed: Of the order of clips, of the augmentation and of mixing.
        optimizer: `adamw`, or `sgd` with Nesterov's momentum.
        momentum: Of SGD; AdamW's first beta.
        beta2: AdamW's second beta.
        decay_positions: Whether learned positions, tokens and bias tables are decayed as well.
        new_lr: Factor on the learning rate of parameters that no checkpoint filled, where one
            filled others.
        head_lr: Factor on the learning rate of the head.
        lr_channels: Channels that a matrix or kernel reads up to which AdamW's learning rate is the
            full one; above, it falls in proportion to them (muP, arXiv 2203.03466): a step changes
            an output by as much whatever the width, and one rate suits small and large networks. 0
            gives all the full rate. It is for trainings from scratch.
        initial_gain: Where no checkpoint fills the network, linear layers of the blocks begin with
            a standard deviation of this over the root of the channels that they read, and learned
            positions of the stem with half of it; 0 leaves the .02 of image transformers for both,
            with which narrow blocks add next to nothing at first. Of `nas train` alone: proxies
            begin as the operators say.
        warm_up: Share of the steps.
        ema: Decay of an exponential moving average of the weights, which is then what is evaluated
            and kept; lower during the first steps, (1 + n) / (10 + n) after n of them. 0 is none.
        label_smoothing: Share of a target that is spread over all classes.
        mixup: Parameter of the Beta distribution of mixup (ICLR 2018); 0 is none.
        cutmix: The same of CutMix (ICCV 2019), a box through all frames. With both, each batch is
            mixed in one of the two ways.
        class_weights: `balanced` weighs clips so that every class counts the same.
        augmentation: How clips are varied.
        stages: They follow each other in turn, again and again, until the training ends; none is
            one stage of whole clips.
    """

    epochs: Count
    batch_size: Count = 16
    lr: Positive = 2e-3
    weight_decay: NotNegative = 0.05
    clip_norm: NotNegative = 1.0
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: BelowOne = 0.9
    beta2: BelowOne = 0.999
    decay_positions: Flag = True
    new_lr: Positive = 1.0
    head_lr: Positive = 1.0
    lr_channels: Annotated[int, Field(ge=0, strict=True)] = 128
    initial_gain: NotNegative = 0.0
    warm_up: BelowOne = 0.1
    ema: BelowOne = 0.0
    label_smoothing: BelowOne = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    augmentation: Augmentation = field(default_factory=Augmentation)
    stages: tuple[Stage, ...] = ()

    @property
    def turn(self) -> tuple[Stage, ...]:
        """The stages of a turn, after which they begin again; without any, one of whole clips."""
        return self.stages or (WHOLE,)

    @property
    def turn_epochs(self) -> int:
        """Epochs of a turn."""
        return sum(stage.epochs for stage in self.turn)

    def stage(self, epoch: int) -> Stage:
        """That of an epoch, from 0."""
        ends = accumulate(stage.epochs for stage in self.turn)
        return next(stage for stage, end in zip(self.turn, ends, strict=True) if epoch % self.turn_epochs < end)

    def changed(self, **changes: Any) -> Recipe:
        """The recipe with other values.

        Raises:
            NasError: A value that is not allowed.
        """
        try:
            return replace(self, **changes)
        except ValidationError as error:
            raise _refusal("recipe", error) from None


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe from a YAML file.

    Args:
        path: The file: a mapping of `Recipe`'s fields, `augmentation` a mapping of its own.

    Raises:
        NasError: No such file, no mapping, an unknown field, or a value that is not allowed.
    """
    document = read_yaml("recipe", path)
    try:
        return TypeAdapter(Recipe).validate_python(document)
    except ValidationError as error:
        raise _refusal(f"recipe {brief(str(path), 200)}", error) from None


def _refusal(what: str, error: ValidationError) -> NasError:
    """The first problem as one sentence."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        kind: Any = {"augmentation": Augmentation, "stages": Stage}.get(path.split(".")[0], Recipe)
        return NasError(f"{what}: {path} is no field; allowed: {', '.join(kind.__dataclass_fields__)}")
    return NasError(f"{what}: {path or 'document'} {brief(first['input'])} is not allowed; allowed: {_allowed(first)}")


def _allowed(problem: Any) -> str:
    """What pydantic asks for, without its verb: `greater than 0`, `'adamw' or 'sgd'`."""
    text = str(problem["msg"])
    for beginning in ("Input should be ", "Input should "):
        text = text.removeprefix(beginning)
    return {"dataclass_type": "a mapping of fields", "tuple_type": "a list"}.get(problem["type"], text)
