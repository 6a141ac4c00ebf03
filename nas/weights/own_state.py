"""States of networks of this package: all of a network, or what agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from nas.errors import NasError
from nas.models.network import Network
from nas.weights.checkpoints import by_name
from nas.weights.filled import Filled, copy_values, listed
from nas.weights.namings import DERIVED, PREFIX

KIND = "a network of this package"
CLASSIFIER = "parts.head.classifier."


def short_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of a checkpoint that are of a network of this package, and what they are called
    there.
    """
    return {name: short for name in state if (short := PREFIX.sub("", name, count=1)).startswith("parts.")}


def fill(model: Network, state: Mapping[str, Tensor], names: Mapping[str, str], source: str, partial: bool) -> Filled:
    """Copies a state of this package into a network, all of it or, with `partial`, what agrees; see
    `nas.weights.fill.fill`.

    Args:
        names: Those of `short_names`; the rest of the state is left.
    """
    own = {short: state[origins[0]] for short, origins in by_name(names, state, source).items()}
    done = _fill_partly(model, own, source) if partial else _fill_whole(model, own, source)
    return replace(done, left=done.left + [name for name in state if name not in names])


def _fill_whole(model: Network, state: Mapping[str, Tensor], source: str) -> Filled:
    targets = model.state_dict(keep_vars=True)
    classes = [name for name in targets if name.startswith(CLASSIFIER)]
    if any(name not in state or state[name].shape != targets[name].shape for name in classes):
        targets = {name: target for name, target in targets.items() if name not in classes}
    required = [name for name in targets if not DERIVED.fullmatch(name)]
    whole = "allowed: a checkpoint of the same architecture, or fill(model, state, partial=True)"
    if missing := [name for name in required if name not in state]:
        raise NasError(
            f"{source}, {KIND}, lacks {len(missing)} of {len(required)} names of the network (first {missing[0]!r}); "
            f"{whole}"
        )
    if unknown := [name for name in state if name not in targets and name not in classes]:
        raise NasError(
            f"{source}, {KIND}, has {len(unknown)} names that the network lacks (first {unknown[0]!r}); {whole}"
        )
    values = {}
    for name, target in targets.items():
        if name in state:
            value = _fitted(model, name, state[name], target)
            if value is None:
                raise NasError(
                    f"{source}, {KIND}, has a {name!r} of {list(state[name].shape)}, but the network's is "
                    f"{list(target.shape)}; {whole}"
                )
            values[name] = value
    copy_values(model, values, source)
    resized = [name for name in values if state[name].shape != values[name].shape]
    notes = [f"interpolated to the frames and size of the network: {listed(resized)}"] if resized else []
    new = [name for name, _ in model.named_parameters() if name not in values]
    return Filled(source, KIND, list(values), new, [name for name in state if name not in values], notes)


def _fitted(model: Network, name: str, value: Tensor, target: Tensor) -> Tensor | None:
    """A tensor as the network loads it: as it is where the shapes agree, else as the nearest module
    around it that has `fitted_state` makes it.
    """
    if value.shape == target.shape:
        return value
    words = name.split(".")
    for i in reversed(range(1, len(words))):
        module = model.get_submodule(".".join(words[:i]))
        if hasattr(module, "fitted_state"):
            fitted: Tensor | None = module.fitted_state(".".join(words[i:]), value)  # type: ignore[operator]
            return fitted
    return None


def _fill_partly(model: Network, state: Mapping[str, Tensor], source: str) -> Filled:
    targets = model.state_dict(keep_vars=True)
    values = {k: v for k, v in state.items() if k in targets and targets[k].shape == v.shape}
    if not values:
        raise NasError(
            f"{source} is {KIND}, but no tensor agrees in name and shape with one of the network "
            f"(first {next(iter(state))!r}); allowed: a checkpoint that shares parts with it"
        )
    copy_values(model, values, source)
    new = [name for name, _ in model.named_parameters() if name not in values]
    return Filled(source, KIND, list(values), new, [name for name in state if name not in values])
