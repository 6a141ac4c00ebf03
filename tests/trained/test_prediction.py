from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import nas
from nas.errors import NasError
from nas.trained.folder import TrainedModel, load_model
from nas.trained.overlay import annotate, write_overlay
from nas.trained.prediction import Prediction, predict_windows, window_length


@pytest.fixture
def model(model_folder: Path) -> TrainedModel:
    return load_model(model_folder)


@pytest.fixture
def clip(clips_folder: Path) -> Path:
    return clips_folder / "val" / "up" / "1.mp4"


def prediction(*probabilities: float, span: tuple[float, float] | None = None) -> Prediction:
    return Prediction("v.mp4", ("a", "b", "c"), np.array(probabilities), span)


def test_top_classes() -> None:
    found = prediction(0.2, 0.5, 0.3)
    assert [(guess.name, guess.probability) for guess in found.top(2)] == [("b", 0.5), ("c", 0.3)]
    assert found.label == "b"


def test_prediction_in_python(model_folder: Path, clip: Path) -> None:
    found = nas.load_model(model_folder).predict(clip)
    assert (found.video, found.classes, found.span) == (str(clip), ("left", "right", "up"), None)
    assert found.probabilities.sum() == pytest.approx(1)


def test_a_window_as_long_as_the_video_sees_its_frames(model: TrainedModel, clip: Path) -> None:
    """20 frames in 2 s: the middles of four parts are frames 2, 7, 12 and 17 both ways."""
    (window,) = model.predict_windows(clip)
    assert window.span == pytest.approx((0, 2))
    assert window.probabilities.tolist() == model.predict(clip).probabilities.tolist()


def test_windows_overlap_by_half_unless_a_step_is_given(model: TrainedModel, clip: Path) -> None:
    assert [each.span for each in model.predict_windows(clip, 1.0)] == [(0, 1), (0.5, 1.5), (1, 2)]
    assert [each.span for each in model.predict_windows(clip, 1.0, 1.0)] == [(0, 1), (1, 2)]


def test_a_stream_gives_what_its_file_does(model: TrainedModel, clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(tmp_path / "v.mkv"), "w") as to:
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                to.mux(packet)
    data = (tmp_path / "v.mkv").read_bytes()

    class Pipe(io.BytesIO):
        name = "<stdin>"

        def seekable(self) -> bool:
            return False

    of_pipe = list(predict_windows(model, Pipe(data), 1.0))
    of_file = list(predict_windows(model, tmp_path / "v.mkv", 1.0))
    assert [each.video for each in of_pipe] == ["standard input"] * 3
    assert [each.probabilities.tolist() for each in of_pipe] == [each.probabilities.tolist() for each in of_file]
    with pytest.raises(NasError, match="Cannot read a video from '<stdin>'"):
        list(predict_windows(model, Pipe(b"no video"), 1.0))


def test_window_length(model: TrainedModel) -> None:
    assert window_length(model, 25) == 2.0
    dense = replace(model.record, preprocessing=replace(model.record.preprocessing, stride=3))
    assert window_length(TrainedModel(model.network, dense), 25) == pytest.approx(10 / 25)
    unknown = TrainedModel(model.network, replace(model.record, clip_seconds=None), "best")
    with pytest.raises(NasError, match="model 'best' does not say how long"):
        window_length(unknown, 25)


def test_missing_video(model: TrainedModel, tmp_path: Path) -> None:
    for found in (lambda: model.predict(tmp_path / "none.mp4"), lambda: list(model.predict_windows("none.mp4"))):
        with pytest.raises(NasError, match="the file does not exist"):
            found()


def test_annotation_is_a_bar_as_long_as_the_class_is_probable() -> None:
    frame = annotate(np.full((400, 640, 3), 255, np.uint8), prediction(0.25, 0.75, 0.0))
    assert frame.shape == (400, 640, 3)
    line, width = 400 // 18, 12 * (400 // 18)
    first = frame[line // 4 + line - 4]  # below the text of the first row
    blue = (first[:, 2].astype(int) - first[:, 0] > 80).nonzero()[0]
    assert blue.max() == pytest.approx(0.75 * width, abs=3)
    assert (frame[:, width + 2 :] == 255).all()
    assert (frame[5 * line :] == 255).all()


def test_small_and_odd_frames_are_enlarged_to_even_ones() -> None:
    assert annotate(np.zeros((37, 49, 3), np.uint8), prediction(1, 0, 0)).shape == (240, 318, 3)
    assert annotate(np.zeros((301, 403, 3), np.uint8), prediction(1, 0, 0)).shape == (300, 402, 3)


def test_overlay_shows_the_nearest_window_and_keeps_times(clip: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    windows = [prediction(1.0, 0, 0, span=(0, 1)), prediction(0.1, 0.0, 0, span=(1, 2))]
    write_overlay(clip, windows, tmp_path / "o.mp4", lambda *call: calls.append(call))
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(20)])
    assert calls[-1] == (20, 20)
    # The bar of the first row, right of its text: certain in the first second only.
    blue = [int(p[13, 150, 2]) - int(p[13, 150, 0]) > 60 for p in (f.to_ndarray(format="rgb24") for f in frames)]
    assert blue == [True] * 11 + [False] * 9


def test_overlay_with_a_colon_and_capitals_in_its_name(clip: Path, tmp_path: Path) -> None:
    write_overlay(clip, [prediction(1, 0, 0)], tmp_path / "http:a.MKV")
    with av.open(f"file:{tmp_path / 'http:a.MKV'}") as container:
        assert container.format.name.startswith("matroska")
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_overlay_with_another_ending(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"has the ending '\.gif'; allowed: \.mp4"):
        write_overlay(clip, [prediction(1, 0, 0)], tmp_path / "o.gif")
    assert not any(tmp_path.iterdir())
