"""What a search can be asked for: the one list of its settings.

The options of `nas search`, the keyword arguments of `nas.search`, their checks, their
documentation and the `settings` of `run.json` all come from the classes below. A new setting is one
line here.
"""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.data.kinds import CACHE_GB
from nas.errors import NasError, brief
from nas.resources import resource_names
from nas.units import LONGEST, seconds

MOST = 1_000_000  # of anything that is counted
LARGEST_SEED = 2**32 - 1  # that numpy, torch and Optuna all take
DEFAULT_SECONDS = 480.0  # of training, when neither trials nor time are given
CONTROL_SHARE = 0.25  # of the trainings, or of the time, unless a control names its share
DEFAULT_BASELINES = ("x3d_m", "r2plus1d_18", "vov3d_m", "pst_t")
DEFAULT_EDITS = 6  # from a network that is searched around
# What may be changed when a run is resumed; all else stays as the run was started.
CHANGEABLE = (
    "budget",
    "trials",
    "time",
    "trial_timeout",
    "measure_seconds",
    "confirm_seeds",
    "baselines",
    "address",
    "storage",
    "allow_outside",
    "cache",
    "cache_gb",
)
_PATHS = ("space", "around", "init", "data", "storage", "cache")


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


_Function = TypeVar("_Function", bound=Callable[..., Any])
PathText = Annotated[str, BeforeValidator(_text)]  # a path object is taken too


def _seconds(default: float | None, description: str) -> Any:
    return Field(default=default, gt=0, le=LONGEST, allow_inf_nan=False, description=description)


def _count(default: int | None, description: str, least: int = 1, most: int = MOST) -> Any:
    return Field(default=default, ge=least, le=most, description=description)


class _Group(BaseModel):
    """Types are strict: 2.5 and "12" are no numbers of trials."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    title: ClassVar[str]  # of the group, in the help of the command


class SpaceSettings(_Group):
    """Where candidates come from, and their limits."""

    title: ClassVar[str] = "Where candidates come from"

    space: PathText = Field(default="hybrid", description="Name or file of a search space.")
    around: PathText | None = Field(
        default=None,
        description="Name or file of a network: what is within some edits of it is searched, and no space.",
    )
    edits: int = Field(
        default=DEFAULT_EDITS,
        description="How many edits away a neighbourhood ends, 1 to 20: of a layer's operator or ratio, or of a "
        "stage's width or depth.",
    )
    init: PathText | None = Field(
        default=None,
        description="Image weights that every candidate begins with: a file, a name on the Hugging Face hub, or the "
        "folder of a network that nas train trained on clips of one frame. What they cannot fill is taken out of the "
        "space.",
    )
    budget: str = Field(
        default="100gflops",
        description="Hard limits at the space's input, separated by commas: 100gflops, 80..100gflops, 30ms, 4gb, "
        "30mparams. accuracy>=.8 is a condition of the front and the picks, judged on what was trained: the proxy, or "
        "its mean over seeds.",
    )
    floor: str | None = Field(
        default=None,
        description="Nothing below it is proposed: one number of what the first objective beside accuracy is of, such "
        "as 2gflops; by default a twentieth of what can be reached here, in the limit and in the time.",
    )
    objectives: str | None = Field(
        default=None,
        description="What networks are compared by, separated by commas: accuracy and one to three of macs, params, "
        "activation_bytes, memory (of training), inference-memory, latency; by default accuracy and what the first "
        "limit of `budget` is of.",
    )


class DataSettings(_Group):
    """What candidates are trained and judged on."""

    title: ClassVar[str] = "Data"

    data: PathText = Field(
        default="motion",
        description="motion or motion:DIFFICULTY (embedded task; 0 to 1, 0.2 by default), a folder per class, a CSV, "
        "or a list of `path label`.",
    )
    allow_outside: bool = Field(
        default=False,
        description="Read videos of a list that lie outside of its folder, by whole paths or links; for a list that "
        "you trust.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse data of which accuracies would be doubtful: clips there twice, under two labels, in "
        "several splits or unreadable, groups in several splits.",
    )
    cache: PathText | None = Field(
        default=None, description="Keep decoded clips of videos in this folder, from which later runs read them."
    )
    cache_gb: float = Field(
        default=CACHE_GB,
        gt=0,
        allow_inf_nan=False,
        description="10^9 bytes that the cache may hold; what was used longest ago goes first.",
    )
    train_clips: int = _count(512, "Training clips per proxy at most.")
    val_clips: int = _count(256, "Clips to select on, and to test on, at most.")


class ProxySettings(_Group):
    """How a candidate is trained as a proxy of itself."""

    title: ClassVar[str] = "Proxies"

    epochs: int | None = _count(
        None,
        "Epochs of a proxy that is never stopped; by default 3 to 30, as many as leave `time` for 40 networks of all "
        "sizes, by the clock; without a time, as many as train one in half a minute at 10 giga multiply-adds a second "
        "and core (500 on a GPU).",
    )
    rung_seconds: float | None = _seconds(
        None, "Judge proxies after so many seconds of training and every doubling; by default after epochs."
    )
    proxy_frames: int | None = _count(None, "Frames of a proxy's clips; by default at most 8.")
    proxy_size: int | None = _count(
        None,
        "Height and width of a proxy's clips; by default the smallest that leaves every stem a map of 4x4 cells, "
        "larger where the time allows more than 30 epochs of it.",
    )


class EffortSettings(_Group):
    """How much is trained and measured."""

    title: ClassVar[str] = "Effort"

    trials: int | None = _count(None, "Networks to train; with `time` too, the search ends at whichever comes first.")
    time: float | None = _seconds(
        None,
        "Seconds to train, confirmation and control included; without `trials` and `time` 480, with `trials` alone no "
        "limit.",
    )
    trial_timeout: float | None = _seconds(
        None, "Seconds after which a training is ended, as it may hang, and counts as failed; by default none is."
    )
    measure: str = Field(
        default="fp32",
        description="What latency is predicted and the front measured under, and its limits are meant: fp32, bf16 or "
        "fp16, of weights and clips, and graph for a CUDA graph, as in bf16,graph. What is computed stays of fp32.",
    )
    measure_seconds: float = _seconds(5.0, "Time to measure each network of the front.")
    confirm_seeds: int = _count(
        2,
        "Train the front again with so many further seeds. A quarter of `time` is kept for it; what does not "
        "fit into that is left out, the knee and the most accurate come first.",
        least=0,
    )
    baselines: str | None = Field(
        default=None,
        description="Published networks to hold the pick against, separated by commas, or none: each is cut to the "
        "multiply-adds of the pick and trained as it was. A tenth of `time` is kept for it. By default "
        f"{','.join(DEFAULT_BASELINES)} where the front is confirmed and no weights are given to begin with.",
    )
    control: str | None = Field(
        default=None,
        description="random or random:SHARE: this share (0.25) of the trainings and of the time goes to random search "
        "behind the same limits, which the search is compared with.",
    )


class ProposalSettings(_Group):
    """How candidates are proposed."""

    title: ClassVar[str] = "Proposals"

    seed: int = _count(0, "Of proposals, data and training.", least=0, most=LARGEST_SEED)
    sampler: str = Field(default="pareto", description="pareto, which knows cost, or tpe, nsga2, gp, random.")
    reproducible: bool = Field(
        default=False,
        description="The seed decides every candidate with several workers too, which then wait for each other at "
        "times; with one worker it always does. On a CPU: kernels of a GPU add in no fixed order.",
    )


class PlacementSettings(_Group):
    """Where trainings run."""

    title: ClassVar[str] = "Placement"

    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:0.")
    workers: int | None = _count(
        None, "Networks trained in parallel; by default one per core, or as many per GPU as share it."
    )
    gpus_per_trial: float | Literal["auto"] | None = Field(
        default=None,
        description="Share of a GPU per trial, above 0, up to 1; by default, or auto, that of up to eight trials, as "
        "many as have the memory that nine of ten candidates train in, and two cores each.",
    )
    address: str | None = Field(
        default=None,
        description="Train on a running Ray cluster: auto, or its HOST:PORT; this machine is in it.",
    )
    storage: PathText | None = Field(
        default=None,
        description="Folder or URI that all its nodes reach, for what Ray stores; the run folder by default.",
    )


# In the order of the command's help.
GROUPS = (SpaceSettings, DataSettings, ProxySettings, EffortSettings, ProposalSettings, PlacementSettings)


class Settings(PlacementSettings, ProposalSettings, EffortSettings, ProxySettings, DataSettings, SpaceSettings):
    """All that a search was asked for. Kept in `run.json`, so that a run can be resumed."""

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """Checks settings by name; those that are not given have their defaults.

        Raises:
            NasError: A name is unknown, or a value is of another type or outside what is allowed.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise _readable(error) from None

    def changed(self, **changes: Any) -> Settings:
        """Returns the settings with some others in their place, checked.

        Raises:
            NasError: As `of`.
        """
        return self.of(**self.model_dump() | changes)

    def absolute(self) -> Settings:
        """Returns the settings with whole paths in place of relative ones, so that the run can be
        resumed from any folder. Names, such as `motion` and `hybrid`, stay.
        """
        paths = {name: getattr(self, name) for name in _PATHS}
        whole = {
            name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items() if _is_path(name, path)
        }
        return self.changed(**whole)

    @property
    def data_is_there(self) -> bool:
        """Whether the data are embedded, or at their path."""
        return _is_embedded(self.data) or _is_path("data", self.data)

    def without_folders(self) -> dict[str, Any]:
        """The settings by name, of each path the last part alone, and no machine's name."""
        parts = {name: _last_part(getattr(self, name)) for name in _PATHS}
        return self.model_dump() | parts | {"address": self.address and "a cluster"}

    @property
    def control_share(self) -> float:
        """The share of the trainings or of the time that the control takes; 0 without one."""
        return control_share(self.control)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The published networks that the pick is held against."""
        if self.baselines is None:
            return DEFAULT_BASELINES if self.confirm_seeds and self.init is None else ()
        return () if self.baselines == "none" else tuple(name.strip() for name in self.baselines.split(","))

    @model_validator(mode="before")
    @classmethod
    def _end(cls, given: Any) -> Any:
        """A search ends: after the default time where neither trials nor time are given."""
        if not isinstance(given, dict) or given.get("trials") is not None or given.get("time") is not None:
            return given
        return {**given, "time": DEFAULT_SECONDS}

    @field_validator("time", "trial_timeout", "rung_seconds", "measure_seconds", mode="before")
    @classmethod
    def _time(cls, value: Any) -> Any:
        """Times may be written as on the command line."""
        return seconds(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _published(self) -> Self:
        published = resource_names("search_spaces/reference")
        for name in self.baseline_names:
            if name not in published:
                raise NasError(f"baseline {brief(name)} is unknown; allowed: none, or {', '.join(published)}")
        if self.init is not None and self.baseline_names:
            raise NasError(
                f"baselines {brief(self.baselines)} with init are not allowed: they would begin without the weights; "
                "allowed: one of both"
            )
        return self

    @field_validator("gpus_per_trial")
    @classmethod
    def _share_of_a_gpu(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value <= 1:
            raise ValueError
        return value

    @model_validator(mode="after")
    def _control(self) -> Self:
        share = self.control_share
        if self.trials is not None:
            split(self.trials, share)
        return self


def with_settings(*names: str, unchanged: bool = False) -> Callable[[_Function], _Function]:
    """Gives a function that takes settings by name (`**settings`) their types and documentation.

    Args:
        names: The settings, which stand for `{settings}` in its docstring.
        unchanged: Whether a setting that is not given stays as it is, and has no default.
    """

    types = get_type_hints(Settings)

    def documented(function: _Function) -> _Function:
        own = inspect.signature(function).parameters
        kept = [each for each in own.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        for name in names:
            field = Settings.model_fields[name]
            default = None if unchanged else field.default
            new = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
            kept = [*kept, new] if name not in own else kept
        function.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
        lines = []
        for name in names:
            text = f"{name}: {Settings.model_fields[name].description}"
            lines += textwrap.wrap(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 12)
        # Python without docstrings (-OO) has none to fill.
        function.__doc__ = (function.__doc__ or "").replace("        {settings}", "\n".join(lines))
        return function

    return documented


def control_share(text: str | None) -> float:
    """The share of a search's trainings or time that its control takes.

    Args:
        text: `random`, `random:SHARE`, or None for no control.

    Raises:
        NasError: Anything else, or a share that leaves one of the two nothing.
    """
    if text is None:
        return 0.0
    match = re.fullmatch(r"random(?::(\d*\.?\d+))?", text)
    share = float(match[1]) if match and match[1] else CONTROL_SHARE
    if not match or not 0 < share < 1:
        raise NasError(f"control {text!r} is not allowed; allowed: random or random:SHARE with a share between 0 and 1")
    return share


def split(trials: int, share: float) -> tuple[int, int]:
    """Trainings of the search and of its control: both have at least one where there is a control.

    Raises:
        NasError: There are not enough for both.
    """
    if share == 0:
        return trials, 0
    if trials < 2:
        raise NasError(f"trials {trials} are too few beside a control; allowed: 2 and more")
    control = min(max(1, round(trials * share)), trials - 1)
    return trials - control, control


def _is_path(name: str, value: str | None) -> bool:
    """Whether a setting is a path that is there, and not a URI or the name of what comes with the
    package.
    """
    if value is None or "://" in value:
        return False
    path = os.path.expanduser(value)
    if name == "data":
        return not _is_embedded(value) and os.path.exists(path)
    return name in ("storage", "cache") or os.path.isfile(path) or (name == "init" and os.path.isdir(path))


def _is_embedded(data: str) -> bool:
    return data == "motion" or data.startswith("motion:")


def _last_part(value: str | None) -> str | None:
    return value if value is None or "://" in value else os.path.basename(value.rstrip("/")) or value


def _readable(error: ValidationError) -> NasError:
    """The first thing that is wrong with some settings, in one sentence."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, NasError):
        return cause
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return NasError(f"setting {name!r} is unknown; allowed: {', '.join(Settings.model_fields)}")
    return NasError(f"{name} {brief(first['input'])} is not allowed; allowed: {_allowed(name)}")


def _allowed(name: str) -> str:
    """What a setting may be, in words."""
    if name == "gpus_per_trial":
        return "above 0, up to 1, or auto"
    field = Settings.model_fields[name]
    words = str(field.annotation)
    least = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
    most = next((f", up to {limit.le:,}" for limit in field.metadata if hasattr(limit, "le")), "")
    if "float" in words:
        return f"numbers above 0{most}, or a time such as 30m"
    if "int" in words:
        return f"whole numbers{'' if least is None else ' above 0' if least == 1 else f' from {least}'}{most}"
    return "True or False" if "bool" in words else "text"
