import math

import pytest
import torch
from torch import nn

from nas.training.optimizer import MovingAverage, make_optimizer, rate
from nas.training.recipe import Recipe


class Video(nn.Module):
    """Names as in a network of the package."""

    def __init__(self) -> None:
        super().__init__()
        layer, head = nn.Linear(2, 2), nn.Linear(2, 3)
        self.parts = nn.ModuleDict({"layer": layer, "head": head})
        self.position = nn.Parameter(torch.zeros(1, 4))


def groups(recipe: Recipe, new: tuple[str, ...] = ()) -> dict[str, tuple[float, float]]:
    """Weight decay and learning rate by name."""
    model = Video()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["weight_decay"], group["lr"])
        for group in make_optimizer(model, recipe, new).param_groups
        for parameter in group["params"]
    }


def test_all_tensors_are_changed_in_one_pass_where_torch_has_one() -> None:
    assert make_optimizer(Video(), Recipe(1)).defaults["fused"] is True
    assert make_optimizer(Video().to("meta"), Recipe(1)).defaults["fused"] is False


def test_decay_is_of_matrices_and_positions_may_go_without() -> None:
    expected = {name: (0.0 if name.endswith("bias") else 0.1, 2.0) for name, _ in Video().named_parameters()}
    assert groups(Recipe(1, lr=2.0, weight_decay=0.1)) == expected
    assert groups(Recipe(1, lr=2.0, weight_decay=0.1, decay_positions=False)) == {**expected, "position": (0.0, 2.0)}


def test_new_parameters_and_the_head_have_rates_of_their_own() -> None:
    recipe = Recipe(1, lr=1e-5, weight_decay=0.0, new_lr=125.0, head_lr=10.0)
    found = {name: value for name, (_, value) in groups(recipe, ("position", "parts.head.weight")).items()}
    assert found == pytest.approx(
        {
            "parts.layer.weight": 1e-5,
            "parts.layer.bias": 1e-5,
            "position": 125e-5,
            "parts.head.weight": 125e-5,  # new, and the larger factor counts
            "parts.head.bias": 1e-4,
        }
    )


def test_wide_matrices_have_lower_rates() -> None:
    """With AdamW, in proportion to the channels that they read; positions and biases read none."""
    recipe = Recipe(1, lr=1.0, lr_channels=1, new_lr=10.0)
    found = {name: value for name, (_, value) in groups(recipe, ("parts.head.weight",)).items()}
    assert found == {
        "parts.layer.weight": 0.5,
        "parts.layer.bias": 1.0,
        "position": 1.0,
        "parts.head.weight": 5.0,
        "parts.head.bias": 1.0,
    }
    for other in (Recipe(1, lr=1.0, lr_channels=0), Recipe(1, lr=1.0, lr_channels=1, optimizer="sgd")):
        assert {lr for _, lr in groups(other).values()} == {1.0}


def test_frozen_parameters_are_in_no_group() -> None:
    model = Video()
    model.position.requires_grad_(False)
    chosen = [p for group in make_optimizer(model, Recipe(1)).param_groups for p in group["params"]]
    assert len(chosen) == 4 and all(p is not model.position for p in chosen)


def test_rate_is_a_line_and_then_a_cosine() -> None:
    assert [rate(step, 20, 0.1) for step in (0, 1, 2)] == [0.5, 1, 1]
    assert rate(11, 20, 0.1) == pytest.approx(0.5) and rate(20, 20, 0.1) == pytest.approx(0)
    assert rate(1.9, 20, 0.1) == 1  # never above the peak, where a schedule was stretched to more steps
    assert rate(6.5, 20, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_sgd_is_nesterovs() -> None:
    """Two steps by hand: v = .9 v + g; w -= lr (g + .9 v), with g = w."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = make_optimizer(model, Recipe(1, optimizer="sgd", lr=0.1, weight_decay=0.0))
    weight, velocity = 1.0, 0.0
    for _ in range(2):
        optimizer.zero_grad()
        (0.5 * model.weight**2).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        velocity = 0.9 * velocity + weight
        weight -= 0.1 * (weight + 0.9 * velocity)
    assert model.weight.item() == pytest.approx(weight, abs=1e-15)


def test_the_average_begins_short_and_becomes_long() -> None:
    """After n updates a value counts 1 - min(decay, (1 + n) / (10 + n)); buffers are as well."""
    model = nn.BatchNorm1d(1).double()
    average = MovingAverage(model, 0.3)
    expected = 0.0
    for step, value in enumerate([1.0, 5.0, -2.0, 4.0]):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(2 * value)  # type: ignore[union-attr]
        average.update_parameters(model)
        decay = min(0.3, (1 + step) / (10 + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * value
        assert average.module.get_parameter("weight").item() == pytest.approx(expected, abs=1e-12)
        assert average.module.get_buffer("running_mean").item() == pytest.approx(2 * expected, abs=1e-12)


class Indexed(nn.Module):
    """A buffer of each kind that is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("index", torch.arange(1000), persistent=False)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]), persistent=False)
        self.register_buffer("count", torch.tensor(7))


def test_indices_and_masks_are_not_averaged() -> None:
    """5 x 0.999 + 5 x 0.001 may be 4.9999995, and minus infinity less itself is no number."""
    model = Indexed()
    average = MovingAverage(model, 0.999)
    for step in range(20):
        model.count.fill_(step)  # type: ignore[operator]
        average.update_parameters(model)
    for name, value in model.named_buffers():
        assert torch.equal(average.module.get_buffer(name), value), name
