from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.datasets import open_data
from nas.errors import NasError
from nas.trained.evaluation import evaluate
from nas.trained.folder import TrainedModel, load_model
from nas.trained.prediction import predict
from nas.trained.scores import Scores


@pytest.fixture
def model(model_folder: Path) -> TrainedModel:
    return load_model(model_folder)


@pytest.mark.parametrize("views", [(1, 1), (2, 3)])
def test_evaluation_and_prediction_give_the_same_digits(
    model: TrainedModel, clips_folder: Path, views: tuple[int, int]
) -> None:
    done = evaluate(model, open_data(clips_folder), views=views, workers=2)
    assert len(done.results) == (1 if views == (1, 1) else 2)
    for name, row in zip(done.clips, done.results[-1].probabilities, strict=True):
        predicted = predict(model, clips_folder / "val" / name, views)
        assert predicted.probabilities.tolist() == row.tolist()
        assert sum(row) == pytest.approx(1)


def test_scores_are_those_of_the_probabilities_in_the_order_of_the_model(
    model: TrainedModel, clips_folder: Path
) -> None:
    shuffled = TrainedModel(model.network, replace(model.record, classes=("up", "left", "right")))
    done = evaluate(shuffled, open_data(clips_folder))
    assert [shuffled.classes[label] for label in done.labels] == [name.partition("/")[0] for name in done.clips]
    assert sorted(done.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    expected = Scores.of(done.results[0].probabilities, done.labels, shuffled.classes)
    assert done.results[0].scores.top1 == expected.top1


def test_the_worst_clips_are_those_whose_class_is_least_probable(model: TrainedModel, clips_folder: Path) -> None:
    done = evaluate(model, open_data(clips_folder))
    own = done.results[0].probabilities[np.arange(12), done.labels]
    assert [index for index, _ in done.worst] == np.argsort(own, kind="stable").tolist()
    assert done.worst[0][1].shape == (4, 16, 16, 3)


def test_the_test_split_and_progress(model: TrainedModel, clips_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    done = evaluate(model, open_data(clips_folder), split="test", progress=lambda *call: calls.append(call))
    assert (done.split, len(done.clips)) == ("test", 3)
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_what_is_written(model: TrainedModel, clips_folder: Path, tmp_path: Path) -> None:
    done = evaluate(model, open_data(clips_folder), views=(2, 1))
    files = done.write(tmp_path / "evaluation")
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {path.name for path in files}
    document = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert [result["views"] for result in document["results"]] == ["1x1", "2x1"]
    assert document["results"][1]["top1"]["value"] == done.results[1].scores.top1.value
    assert (document["clips"], document["latency"]) == (12, None)
    confusion = list(csv.reader((tmp_path / "evaluation" / "confusion.csv").open()))
    assert confusion[0] == ["class", *model.classes]
    assert [list(map(int, row[1:])) for row in confusion[1:]] == done.results[1].scores.confusion.tolist()
    clips = list(csv.DictReader((tmp_path / "evaluation" / "clips.csv").open()))
    assert [row["clip"] for row in clips] == list(done.clips)
    assert float(clips[0]["probability of class"]) == done.results[1].probabilities[0, done.labels[0]]
    for name in ("confusion.png", "worst_clips.png"):
        assert min(Image.open(tmp_path / "evaluation" / name).size) > 300
    assert str(clips_folder) not in (tmp_path / "evaluation" / "evaluation.json").read_text()


def test_other_classes_are_refused_by_name(model: TrainedModel, clips_folder: Path) -> None:
    other = TrainedModel(model.network, replace(model.record, classes=("left", "right", "wave")), "waves")
    with pytest.raises(NasError, match=r"has up and lacks wave, whose classes are not those of model 'waves'"):
        evaluate(other, open_data(clips_folder))


def test_a_split_that_there_is_not(model: TrainedModel, clips_folder: Path) -> None:
    data = replace(open_data(clips_folder), test=None)
    for split in ("test", "train"):
        with pytest.raises(NasError, match=f"split '{split}' is not in data .*; allowed: val"):
            evaluate(model, data, split=split)


def test_views_that_there_are_not(model: TrainedModel, clips_folder: Path) -> None:
    with pytest.raises(NasError, match="views 0x3"):
        evaluate(model, open_data(clips_folder), views=(0, 3))


def test_broken_clips_are_counted_up_to_a_twentieth(
    model: TrainedModel, clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips_folder, folder)
    (folder / "val" / "up" / "0.mp4").write_bytes(b"no video")
    data = open_data(folder)
    with pytest.raises(NasError, match=r"1 of 12 clips of val cannot be read: .*0\.mp4.*; allowed: up to 5 %"):
        evaluate(model, data)
    monkeypatch.setattr("nas.data.unreadable.MOST_UNREADABLE", 0.1)
    done = evaluate(model, data, workers=3)
    assert len(done.clips) == len(done.labels) == 11
    assert [(each.split, each.clip) for each in done.unreadable] == [("val", "up/0.mp4")]
    done.write(tmp_path / "e")
    assert (tmp_path / "e" / "unreadable.csv").read_text().count("\n") == 2
    assert "up/0.mp4" not in done.clips
