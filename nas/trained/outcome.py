"""The networks that a training hands over: written, and tested where there is a test split.

Where images are trained on as well, the folder `images` inside that of the network for clips is
that of the network for images, with the same encoder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from nas.data.preprocessing import Preprocessing
from nas.data.source import Split
from nas.models.two_heads import TwoHeads
from nas.trained.curves import CurveRow
from nas.trained.decoded import Decoded
from nas.trained.folder import Figure, ModelRecord, Provenance, load_model, save_model
from nas.trained.plan import Plan
from nas.training.loop import accuracy

IMAGES = "images"
VALIDATION, TEST = "validation accuracy", "test accuracy"


def save_networks(
    folder: Path, plan: Plan, model: nn.Module, epochs: float, decoded: Decoded, row: CurveRow | None
) -> None:
    """Writes the networks as they are now.

    Args:
        folder: That of the network for clips.
        plan: Of the training.
        model: The network, a `TwoHeads` where there are images.
        epochs: That it was trained.
        decoded: What was trained and judged on.
        row: The epoch that has just ended, whose accuracies are those of the weights; None within
            one.
    """
    record = _record(plan, epochs, decoded)
    figures = {} if row is None else {VALIDATION: Figure(row.accuracy, len(decoded.val.labels))}
    state = model.clip_state() if isinstance(model, TwoHeads) else model.state_dict()
    save_model(folder, plan.architecture, state, replace(record, figures=figures))
    if not isinstance(model, TwoHeads) or plan.images is None or decoded.val_images is None:
        return
    of_images = None if row is None else row.image_accuracy
    record = replace(
        record,
        classes=plan.images.classes,
        preprocessing=replace(plan.image_preprocessing, frames=model.image_architecture.input.frames),
        clip_seconds=None,
        figures={} if of_images is None else {VALIDATION: Figure(of_images, len(decoded.val_images.labels))},
        provenance=replace(record.provenance, data=plan.images.name),
    )
    save_model(folder / IMAGES, model.image_architecture, model.image_state(), record)


def _record(plan: Plan, epochs: float, decoded: Decoded) -> ModelRecord:
    settings = plan.settings
    architecture, run, trial = settings.source
    return ModelRecord(
        classes=plan.data.classes,
        preprocessing=plan.preprocessing,
        clip_seconds=decoded.clip_seconds,
        provenance=Provenance(
            architecture=architecture,
            run=run,
            trial=trial,
            data=plan.data.name,
            recipe=Path(settings.recipe).stem if settings.recipe else "preset",
            init=Path(settings.init).name if settings.init else None,
            epochs=epochs,
            seed=settings.seed,
        ),
    )


def add_test_figures(folders: list[Path], plan: Plan) -> None:
    """Adds the accuracy on the test split to the figures of networks that lack it.

    Args:
        folders: Those of networks for clips.
        plan: Of the training.
    """
    _add_figures(folders, plan, plan.data.test, plan.preprocessing)
    if plan.images is not None:
        _add_figures([folder / IMAGES for folder in folders], plan, plan.images.test, plan.image_preprocessing)


def _add_figures(folders: list[Path], plan: Plan, split: Split | None, how: Preprocessing) -> None:
    folders = [folder for folder in folders if TEST not in load_model(folder, "cpu").record.figures]
    if split is None or not folders:
        return
    clips = plan.clips("test", split, how.evaluation)
    for folder in folders:
        model = load_model(folder, str(plan.device))
        frames = model.record.preprocessing.frames
        score = accuracy(model.network, clips, how.size, plan.device, plan.evaluation_batch, frames)
        record = replace(model.record, figures={**model.record.figures, TEST: Figure(score, len(clips.labels))})
        save_model(folder, model.network.architecture, model.network.state_dict(), record)
