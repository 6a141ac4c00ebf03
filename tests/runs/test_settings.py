"""The settings of a search: types and bounds, and that class, function and command agree."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import nas
from nas.errors import NasError
from nas.runs.options import ResumeOptions, SearchOptions
from nas.runs.search import resume
from nas.runs.settings import CHANGEABLE, Settings, control_share, split


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 2.5}, "trials 2.5 is not allowed; allowed: whole numbers above 0"),
        ({"trials": "12"}, "trials '12' is not allowed; allowed: whole numbers above 0"),
        ({"trials": True}, "trials True is not allowed; allowed: whole numbers above 0"),
        ({"trials": 0}, "trials 0 is not allowed; allowed: whole numbers above 0"),
        ({"time": float("nan")}, "time nan is not allowed; allowed: numbers above 0"),
        ({"time": float("inf")}, "time inf is not allowed; allowed: numbers above 0"),
        ({"time": "30"}, "time '30' is not a time; allowed: numbers with s, m, h or d, such as 90s, 30m or 1h30m"),
        ({"time": 1e9}, "time 1000000000.0 is not allowed; allowed: numbers above 0, up to 86,400,000, or a time"),
        ({"trials": 10**20}, "trials 100000000000000000000 is not allowed; allowed: whole numbers above 0, up to 1,0"),
        ({"seed": 2**64}, "seed 18446744073709551616 is not allowed; allowed: whole numbers from 0, up to 4,294,967,2"),
        ({"seed": -1}, "seed -1 is not allowed; allowed: whole numbers from 0"),
        ({"confirm_seeds": -1}, "confirm_seeds -1 is not allowed; allowed: whole numbers from 0"),
        ({"gpus_per_trial": "much"}, "gpus_per_trial 'much' is not allowed; allowed: above 0, up to 1, or auto"),
        ({"gpus_per_trial": 1.5}, "gpus_per_trial 1.5 is not allowed; allowed: above 0, up to 1, or auto"),
        ({"reproducible": "no"}, "reproducible 'no' is not allowed; allowed: True or False"),
        ({"budget": 100}, "budget 100 is not allowed; allowed: text"),
        ({"control": "tpe"}, "control 'tpe' is not allowed; allowed: random or random:SHARE with a share between"),
        ({"control": "random", "trials": 1}, "trials 1 are too few beside a control; allowed: 2 and more"),
        (
            {"colour": "blue"},
            "setting 'colour' is unknown; allowed: space, around, edits, init, budget, floor, objectives, data",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError) as caught:
        Settings.of(**given)
    assert str(caught.value).startswith(message)


def test_what_is_allowed_is_taken() -> None:
    settings = Settings.of(data=Path("a") / "b.csv", time=60, gpus_per_trial="auto", confirm_seeds=0, trials=2)
    assert (settings.data, settings.time, settings.gpus_per_trial, settings.trials) == ("a/b.csv", 60.0, "auto", 2)
    assert Settings().time == 480 and Settings(trials=3).time is None
    assert settings.changed(trials=None, time=None).time == 480
    assert Settings.of(time="10m").time == 600 and Settings.of(rung_seconds="20s").rung_seconds == 20
    assert Settings.of(seed=2**32 - 1).seed == 2**32 - 1


def test_paths_become_whole_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("videos", "motion", "hybrid"):
        Path(folder).mkdir()
    Path("mine.yaml").touch()
    whole = Settings(data="videos", space="mine.yaml", around="vov3d_l", storage="store").absolute()
    assert (whole.data, whole.space) == (str(tmp_path / "videos"), str(tmp_path / "mine.yaml"))
    assert (whole.around, whole.storage) == ("vov3d_l", str(tmp_path / "store"))
    # A folder that is called as what comes with the package is not meant.
    names = Settings(data="motion", space="hybrid", storage="s3://bucket").absolute()
    assert (names.data, names.space, names.storage) == ("motion", "hybrid", "s3://bucket")
    assert Settings(data="motion:0.5").absolute().data == "motion:0.5"
    assert Settings(data="nothing").absolute().data == "nothing"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(data="~/videos").absolute().data == os.path.join(tmp_path, "videos")


def test_the_function_takes_the_settings_of_the_class_and_says_what_they_are() -> None:
    parameters = inspect.signature(nas.search).parameters
    assert set(parameters) == {*Settings.model_fields, "out", "quiet", "on_event"}
    for name, field in Settings.model_fields.items():
        assert parameters[name].default == field.default, name
        assert field.description and f"        {name}: {field.description[:40]}" in (nas.search.__doc__ or ""), name
    assert set(inspect.signature(resume).parameters) == {"path", "quiet", "on_event", *CHANGEABLE}
    assert "{settings}" not in f"{nas.search.__doc__}{resume.__doc__}"
    with pytest.raises(NasError, match=r"setting 'trails' is unknown; allowed: .*trials"):
        nas.search("tiny", trails=3)  # type: ignore[call-arg]


def test_share_of_the_control() -> None:
    assert [control_share(text) for text in (None, "random", "random:0.5", "random:.1")] == [0.0, 0.25, 0.5, 0.1]
    for text in ("tpe", "random:", "random:0", "random:1", "random:1.5", "random:-1", ""):
        with pytest.raises(NasError, match=r"allowed: random or random:SHARE"):
            control_share(text)


def test_search_and_control_have_a_training_each() -> None:
    assert [split(*each) for each in ((12, 0.0), (12, 0.25), (2, 0.25), (2, 0.9), (10, 0.5))] == [
        (12, 0), (9, 3), (1, 1), (1, 1), (5, 5)
    ]  # fmt: skip
    with pytest.raises(NasError, match="trials 1 are too few beside a control"):
        split(1, 0.25)


def test_type_checkers_see_the_settings_that_there_are() -> None:
    given = {"space", "budget", "data"}  # by place too
    assert list(SearchOptions.__annotations__) == [name for name in Settings.model_fields if name not in given]
    assert list(ResumeOptions.__annotations__) == list(CHANGEABLE)
    types = get_type_hints(Settings)
    for name, declared in get_type_hints(SearchOptions).items():
        kinds, wanted = set(get_args(declared) or [declared]), set(get_args(types[name]) or [types[name]])
        # Paths are taken for texts, and times as they are written on the command line.
        assert wanted <= kinds and kinds - wanted <= {Path, str}, name
