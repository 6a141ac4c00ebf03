"""The training loop: used by the search for its proxies and by `nas train` for whole networks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.clips import Clips
from nas.data.transforms import centre_crop, normalise
from nas.training.augmentation import augment, middle
from nas.training.batch_norm import synchronise
from nas.training.feed import Feed, moved
from nas.training.mixing import Mixing, draw_mixing
from nas.training.optimizer import MovingAverage, make_optimizer, rate
from nas.training.recipe import Recipe, Stage
from nas.training.recompute import recompute
from nas.training.stages import fixed_parameters, reduced, settle
from nas.training.stills import Stills
from nas.training.workers import ALONE, Workers

SETTLING = 256  # whole clips by which a network trained on smaller ones is prepared for evaluation


class Training:
    """One network in training; `epoch` runs to the end of an epoch, `step` a single step.

    Attributes:
        model: The network that is trained.
        average: Moving average of its weights, or None.
        steps: Steps of an epoch.
        total_steps: Steps of the schedule; training ends when `position` gets there.
        position: Where the schedule is, in its steps.
        pace: Steps of the schedule for each step; not 1 where the schedule was stretched.
        steps_done: Steps that were taken.
        clips_read: Clips that steps were taken on since this was made; images are none.
        step_in_epoch: Those of the epoch that is under way.
        epochs_done: Whole epochs.
        epoch_loss: Sum of the losses of the epoch's steps so far, a tensor on the device.
        order: Clips of the epoch that is under way.
        generator: Of all that is random about clips, on the CPU.
        stills: Images that every second step is taken on, from the second of an epoch, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        clips: Clips,
        size: tuple[int, int],
        recipe: Recipe,
        flip: bool,
        device: torch.device,
        micro_batch: int | None = None,
        *,
        frames: int | None = None,
        new: Collection[str] = (),
        compiled: bool = False,
        lean: bool = False,
        workers: Workers = ALONE,
        stills: Stills | None = None,
    ) -> None:
        """Makes optimizer and schedule.

        Args:
            model: Takes (B, 3, T, H, W), of the frames and sizes of all stages.
            clips: The training clips, at least as large and as long as the model's input; of more
                pixels or frames a part is drawn at random.
            size: (height, width) of the model's input.
            recipe: How to train.
            flip: Whether clips may be mirrored.
            device: Where to train; mixed precision in bfloat16 on CUDA, float32 elsewhere.
            micro_batch: At most so many clips pass the network at a time; the gradients of a batch
                add up. They are those of the whole batch, unless the network normalises over clips:
                batch statistics are of the micro-batch.
            frames: Of the model's input; those of the clips unless given.
            new: Names of parameters that a checkpoint left new, for the recipe's factor.
            compiled: Run the network through `torch.compile`.
            lean: Keep no activations of its parts but run them again in the backward pass; see
                `nas.training.recompute`.
            workers: The processes that train it together, all with equal arguments: each takes its
                share of every batch, and batch normalisation counts the clips of all.
            stills: Images for the second head of the model, which is then a `TwoHeads`. Steps on
                clips and on images take turns, so an epoch, a pass over the clips, has twice as
                many; each leaves gradients of the encoder and of its own head.

        Raises:
            NasError: A stage fixes parameters that the model does not have.
        """
        self.model, self.clips, self.size = model, clips, size
        self.recipe, self.flip, self.device, self.workers = recipe, flip, device, workers
        self.micro_batch, self.stills = micro_batch or recipe.batch_size, stills
        self._feed = Feed(clips, device)
        self._still_feed = None if stills is None else Feed(stills.clips, device)
        self.frames = frames or clips.pixels.shape[1]
        self.optimizer = make_optimizer(model, recipe, new)
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None
        for module in (model, self.average):
            synchronise(module, workers)
        if lean:
            recompute(model)
        self._forward = torch.compile(model) if compiled else model
        self._fixed = {stage: fixed_parameters(model, stage) for stage in recipe.stages}
        # A last batch of one clip would leave batch normalisation nothing to normalise.
        self.steps = max(1, len(clips.labels) // recipe.batch_size) * (1 if stills is None else 2)
        self.total_steps = self.steps * recipe.epochs
        self.position, self.pace = 0.0, 1.0
        self.steps_done = self.step_in_epoch = self.epochs_done = self.clips_read = 0
        self.epoch_loss = torch.zeros((), device=device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.order = torch.empty(0, dtype=torch.int64)
        balanced = recipe.class_weights == "balanced"
        self._weights = balanced_weights(clips).to(device) if balanced else None
        self._still_weights = balanced_weights(stills.clips).to(device) if balanced and stills is not None else None

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and to keep: the moving average where there is one."""
        if self.average is None:
            return self.model
        module: nn.Module = self.average.module
        return module

    @property
    def _settles(self) -> bool:
        """Whether statistics of batch normalisation are of smaller clips than those evaluated."""
        return any(not stage.whole for stage in self.recipe.stages)

    def settled(self) -> nn.Module:
        """`evaluated` as it would be if the epoch ended here: within an epoch of smaller clips a
        copy, and the training stays as it is. All workers call it at the same step.
        """
        if not (self._settles and self.step_in_epoch):
            return self.evaluated
        copy = deepcopy(self.evaluated)
        self._settle(copy)
        return copy

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.recipe.lr * rate(self.position, self.total_steps, self.recipe.warm_up)

    @property
    def stage(self) -> Stage:
        """That of the epoch that is under way."""
        return self.recipe.stage(self.epochs_done)

    @property
    def ended(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.position > self.total_steps - 0.5 * self.pace

    def stretch(self, steps_left: int) -> None:
        """Lets the schedule end after so many further steps, from the learning rate that it has."""
        self.pace = (self.total_steps - self.position) / max(1, steps_left)

    def epoch(self) -> float:
        """Trains to the end of the epoch and returns its mean loss."""
        while True:
            mean = self.step()
            if mean is not None:
                return mean

    def step(self) -> float | None:
        """Takes a step; returns the mean loss of the epoch if it was the epoch's last, or the
        schedule's.
        """
        self.model.train()
        if self.step_in_epoch == 0:
            self.order = torch.randperm(len(self.clips.labels), generator=self.generator)
            self.epoch_loss = torch.zeros((), device=self.device)
        stills = self.stills if self.step_in_epoch % 2 else None
        if stills is not None:
            stills.loss = stills.loss + self._loss_of(stills.draw(self.generator), stills)
        else:
            first = (self.step_in_epoch - self.still_steps) * self.recipe.batch_size
            chosen = self.order[first : first + self.recipe.batch_size]
            self.epoch_loss = self.epoch_loss + self._loss_of(chosen)
            self.clips_read += len(chosen)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        share = rate(self.position, self.total_steps, self.recipe.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * group["factor"] * share
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.position += self.pace
        self.steps_done += 1
        self.step_in_epoch += 1
        if self.step_in_epoch < self.steps and not self.ended:
            return None
        if self._settles:
            self._settle(self.evaluated)
        mean = self.epoch_loss.item() / (self.step_in_epoch - self.still_steps)
        if self.stills is not None:
            self.stills.end_epoch(self.still_steps)
        self.epochs_done += 1
        self.step_in_epoch = 0
        return mean

    @property
    def still_steps(self) -> int:
        """Steps of the epoch that is under way that were taken on images."""
        return 0 if self.stills is None else self.step_in_epoch // 2

    def _loss_of(self, chosen: Tensor, stills: Stills | None = None) -> Tensor:
        """Draws what is random about a batch, of images where there are some, leaves the gradients
        of its mean loss and returns this.
        """
        feed, flip, frames = self._feed, self.flip, self.frames
        if stills is not None and self._still_feed is not None:
            feed, flip, frames = self._still_feed, stills.flip, 1
        pixels, labels = feed.pixels(chosen), feed.labels(chosen)
        mixing = draw_mixing(self.recipe, len(pixels), self.stage.extent(frames, self.size)[1], self.generator)
        own = self.workers.share(len(pixels))
        needed = own if mixing is None else {*own, *mixing.partner[own.start : own.stop].tolist()}
        varied = augment(pixels, frames, self.size, flip, self.recipe.augmentation, self.generator, needed)
        return self._gradients(reduced(varied, self.stage), labels, mixing, image=stills is not None)

    def _gradients(self, pixels: Tensor, labels: Tensor, mixing: Mixing | None, image: bool) -> Tensor:
        """Leaves the gradients of a batch's mean loss, which it returns."""
        weights, options = (self._still_weights, {"image": True}) if image else (self._weights, {})
        self.optimizer.zero_grad(set_to_none=True)
        self._fix()
        total = torch.zeros((), device=self.device)
        targets = labels
        for part in self.workers.parts(len(pixels), self.micro_batch):
            clips = normalise(pixels[part])
            if mixing is not None:
                clips = mixing.clips(clips, normalise(pixels[moved(mixing.partner[part], self.device)]), part)
            with _mixed_precision(self.device):
                logits = self._forward(clips, **options)
                if targets is labels and (mixing is not None or weights is not None):
                    exact = torch.promote_types(logits.dtype, torch.float32)
                    targets = F.one_hot(labels, logits.shape[1]).to(exact)
                    targets = targets if mixing is None else mixing.targets(targets)
                loss = self._loss(logits, targets[part], weights)
            loss = loss * (len(clips) / len(pixels))
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
        return self.workers.add_up_gradients(self.model, total)

    def _fix(self) -> None:
        """Takes the gradient from the stage's fixed parameters, which the optimizer then passes
        over: neither decay nor moments move them.
        """
        for parameters in self._fixed.values():
            for parameter in parameters:
                parameter.requires_grad_(True)
        for parameter in self._fixed.get(self.stage, ()):
            parameter.requires_grad_(False)

    def _settle(self, model: nn.Module) -> None:
        """Prepares a network for the whole clips of an evaluation by some of the epoch's, as many
        at a time as have no more pixels than the clips of a step.
        """
        at_once = max(1, int(self.micro_batch * max(s.frames * s.size**2 for s in self.recipe.stages)))
        chosen = self.order[:SETTLING]
        parts = (self._feed.pixels(chosen[part]) for part in self.workers.parts(len(chosen), at_once))
        batches = (_whole(pixels, self.frames, self.size) for pixels in parts)
        with _mixed_precision(self.device):
            settle(model, batches)

    def _loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Mean over clips: with targets of class shares, torch does not divide by the weights."""
        if weights is not None:
            weights = F.pad(weights, (0, logits.shape[1] - len(weights)), value=1.0).to(logits)
        return F.cross_entropy(logits, targets, weights, label_smoothing=self.recipe.label_smoothing)


def balanced_weights(clips: Clips) -> Tensor:
    """Weight of each class: clips / (classes that are there x clips of the class), (K,), 1 in the
    mean over clips; 0 for a class that is not there.
    """
    counts = torch.bincount(torch.from_numpy(clips.labels)).double()
    return torch.where(counts > 0, counts.sum() / (counts > 0).sum() / counts.clamp(min=1), 0.0)


def _mixed_precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def logits(
    model: nn.Module,
    clips: Clips,
    size: tuple[int, int],
    device: torch.device,
    batch: int = 32,
    frames: int | None = None,
    image: bool = False,
) -> Tensor:
    """Class logits of the centre crop of every clip, (N, classes), on the CPU.

    Of evenly spread frames where it has more than asked for, of repeated ones where it has fewer;
    with `image` those of the second head of a `TwoHeads`.
    """
    options = {"image": True} if image else {}
    was_training = model.training
    model.eval()
    frames = frames or clips.pixels.shape[1]
    with torch.inference_mode(), _mixed_precision(device):
        parts = (moved(part, device) for part in _batches(clips, batch))
        rows = [model(_whole(part, frames, size), **options).float() for part in parts]
    model.train(was_training)
    return torch.cat(rows).cpu()


def _whole(pixels: Tensor, frames: int, size: tuple[int, int]) -> Tensor:
    """Clips as they are evaluated, as the network's input."""
    return normalise(centre_crop(middle(pixels, frames), size))


def _batches(clips: Clips, batch: int) -> Iterator[Tensor]:
    for start in range(0, len(clips.labels), batch):
        yield torch.from_numpy(clips.pixels[start : start + batch])


def accuracy(
    model: nn.Module,
    clips: Clips,
    size: tuple[int, int],
    device: torch.device,
    batch: int = 32,
    frames: int | None = None,
    workers: Workers = ALONE,
    image: bool = False,
) -> float:
    """Share of clips whose highest logit is their label; each worker looks at its share of them.
    The other arguments are those of `logits`.
    """
    own = workers.share(len(clips.labels))
    right = torch.zeros((), dtype=torch.int64)
    if own:
        part = Clips(clips.pixels[own.start : own.stop], clips.labels[own.start : own.stop])
        predicted = logits(model, part, size, device, batch, frames, image).argmax(dim=1)
        right += (predicted == torch.from_numpy(part.labels)).sum()
    workers.add_up([right])
    return right.item() / len(clips.labels)
