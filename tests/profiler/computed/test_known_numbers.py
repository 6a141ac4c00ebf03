"""Numbers that decide what a module does, memory that changes hands, state outside of modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.profiler.computed import effects
from nas.profiler.computed.cost import cost


class Calls(nn.Module):
    """A forward that is a function of the inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


# ------------------------------------------------------------------------ memory that changes hands


def into_out(x: Tensor) -> Tensor:
    y = torch.empty(0)
    torch.mm(x, x.T, out=y)
    return y


def resized_as(x: Tensor) -> Tensor:
    return (x + 1).reshape(30, 2).resize_as_(x) @ x.T


def new_data(x: Tensor) -> Tensor:
    y = torch.empty(0)
    y.data = (x + 1).T.contiguous()
    return x @ y


def another_storage(x: Tensor) -> Tensor:
    y = torch.zeros(3)
    y.set_(x.T)  # type: ignore[call-overload]
    return x @ y


@pytest.mark.parametrize("function", [into_out, resized_as, new_data, another_storage])
def test_a_tensor_that_gets_other_memory_has_its_shape(function: Callable[[Tensor], Tensor]) -> None:
    """Each multiplies 6x10 by 10x6."""
    figures = cost(Calls(function), torch.randn(6, 10))
    assert figures.macs == 6 * 10 * 6 and figures.unknown == {}


def test_memory_that_grows_is_counted() -> None:
    """Two numbers, then 5 x 7 of them, and as many of the output."""

    def grown(x: Tensor) -> Tensor:
        y = (x + 1).resize_(5, 7)
        assert y.shape == (5, 7) and y.stride() == (7, 1)
        return y * 2

    assert cost(Calls(grown), torch.zeros(1, 2)).inference_bytes == 4 * (2 + 35 + 35)


# ------------------------------------------------------------------------------ numbers that decide


class Gated(nn.Module):
    def __init__(self, gate: Tensor) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        if isinstance(gate, nn.Parameter):
            self.gate = gate
        else:
            self.register_buffer("gate", gate)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) if self.gate.sum() > 0.5 else x
        return y


@pytest.mark.parametrize("size", [(), (2, 3), (50, 40)])
@pytest.mark.parametrize("wrap", [nn.Parameter, torch.clone])
def test_blocks_are_told_apart_by_gates_of_any_size(wrap: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> None:
    net = nn.Sequential(*(Gated(wrap(torch.full(size, gate))) for gate in (1.0, 0.0, 1.0, 0.0)))
    if wrap is nn.Parameter and len(size) and size[0] > 2:  # blocks differ in all large parameters
        with pytest.raises(NasError, match=r"reads numbers of its activations \(item\)"):
            cost(net, torch.randn(3, 8))
        return
    figures = cost(net, torch.randn(3, 8))
    assert figures.macs == 2 * 3 * 8 * 8
    assert figures.step_bytes > 0


def test_numbers_that_are_written_in_place_are_known_where_they_follow() -> None:
    def forward(x: Tensor) -> Tensor:
        count = torch.zeros(3)
        old = count[1:]
        count.add_(2).mul_(3)
        assert count.tolist() == [6, 6, 6] and count[:1].item() == 6
        with pytest.raises(NasError, match="reads numbers"):
            old.tolist()
        count[0] = 7  # a part of it
        with pytest.raises(NasError, match="reads numbers"):
            count.tolist()
        return x

    cost(Calls(forward), torch.zeros(30))


def test_batch_statistics_of_cumulative_average() -> None:
    """Of 5 x 4 numbers, which is kept, the means and deviations of 4 are kept as well."""
    norm = nn.BatchNorm1d(4, momentum=None)
    figures = cost(norm, torch.randn(5, 4))
    assert figures.activation_bytes == 4 * (20 + 4 + 4)
    assert norm.num_batches_tracked == 0 and figures.step_bytes > 0


# --------------------------------------------------------------------------- state outside of parts

RUNS = [0]
CALLS = 0


class Counts(nn.Module):
    """Runs its body once more each time that any of its kind runs."""

    runs: ClassVar = [0]

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4))

    def times(self) -> int:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times()):
            x = self.body(x)
        return x


class CountsInClass(Counts):
    def times(self) -> int:
        self.runs[0] += 1
        return self.runs[0]


class CountsInList(Counts):
    def times(self) -> int:
        RUNS[0] += 1
        return RUNS[0]


class CountsInGlobal(Counts):
    def times(self) -> int:
        global CALLS
        CALLS += 1
        return CALLS


class CountsInShared(Counts):
    def __init__(self, shared: list[int]) -> None:
        super().__init__()
        self.shared = shared

    def times(self) -> int:
        self.shared[0] += 1
        return self.shared[0]


@pytest.mark.parametrize("kind", [CountsInClass, CountsInList, CountsInGlobal, CountsInShared])
def test_a_counter_outside_of_a_block_decides_and_is_put_back(kind: Any) -> None:
    """1 + 2 + 3 times 2 x 4 x 4."""
    shared = [0]
    blocks = [kind(shared) if kind is CountsInShared else kind() for _ in range(3)]
    for _ in range(2):
        assert cost(nn.Sequential(*blocks), torch.zeros(2, 4)).macs == 6 * 2 * 4 * 4
    assert (Counts.runs, RUNS, CALLS, shared) == ([0], [0], 0, [0])


def test_an_inference_does_not_decide_what_training_keeps() -> None:
    """A traced LSTM runs its training kernel in inference, where that makes no workspace."""
    effects.forget()
    x = torch.randn(3, 2, 4)
    traced: Any = torch.jit.trace(nn.LSTM(4, 5), x)
    figures = cost(traced, x)
    assert figures.macs == 3 * 2 * 4 * 5 * (4 + 5)
    plain = cost(nn.LSTM(4, 5), x)
    assert figures.activation_bytes == plain.activation_bytes
    assert figures.step_bytes == plain.step_bytes


def test_a_lazy_module_that_is_in_no_list_of_parts_is_named() -> None:
    hidden = [nn.LazyLinear(5)]
    with pytest.raises(NasError, match="it holds a lazy module that has not run yet"):
        cost(Calls(lambda x: hidden[0](x)), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("module", "given", "sentence"),
    [
        (nn.Linear(4, 5), torch.nested.nested_tensor([torch.zeros(2, 4)]), "a tensor of .* inputs is nested; allowed"),
        (nn.Linear(4, 5), torch.eye(4).to_sparse(), "a tensor of .* inputs is sparse_coo; allowed: dense tensors"),
        (nn.Embedding(9, 4, sparse=True), torch.tensor([1]), "makes a tensor that is sparse_coo; allowed: dense"),
        (Calls(lambda x: torch.nested.nested_tensor([x])), torch.zeros(2, 4), "makes a tensor that is nested; allowed"),
    ],
)
def test_tensors_that_are_not_dense_are_refused(module: nn.Module, given: Tensor, sentence: str) -> None:
    with pytest.raises(NasError, match=sentence):
        print(cost(module, given).step_bytes)


def test_numbers_written_in_a_forward_are_memory_of_the_pass() -> None:
    """A linear layer keeps its input of 6 numbers, index_add its source of 6 and its index of 2."""
    layer = nn.Linear(2, 2)

    def forward(x: Tensor) -> Tensor:
        y: Tensor = layer(x)
        return y.index_add(0, torch.tensor([0, 2]), y[:2])

    assert cost(Calls(forward), torch.zeros(3, 2)).activation_bytes == 4 * (6 + 6) + 8 * 2


class Tagged(Tensor):
    """A tensor with a class of its own and no behaviour."""


def test_parameters_of_a_subclass_count_as_others() -> None:
    layer = nn.Linear(4, 5)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Tagged))
    figures = cost(layer, torch.zeros(2, 4))
    assert figures.macs == 2 * 4 * 5 and figures.step_bytes > 0
    assert type(layer.weight.data) is Tagged


def test_a_deep_copy_of_an_activation_is_memory_of_its_own() -> None:
    """The input, its copy and their sum of 20 numbers each."""
    assert cost(Calls(lambda x: x + copy.deepcopy(x)), torch.zeros(20)).inference_bytes == 3 * 4 * 20


def test_a_seed_that_a_forward_sets_is_taken_back() -> None:
    before = torch.get_rng_state()
    cost(Calls(lambda x: (torch.manual_seed(1), x)[1]), torch.zeros(2))
    assert torch.equal(torch.get_rng_state(), before)
