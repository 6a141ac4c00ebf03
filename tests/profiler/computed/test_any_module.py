"""Modules as people write them: costs worked out by hand, and the module as it was afterwards."""

from __future__ import annotations

import array
import collections
import concurrent.futures
import ctypes
import dataclasses
import functools
import io
import itertools
import operator
import queue
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.profiler import record_function

import nas
from nas.errors import NasError
from nas.profiler.computed import effects
from nas.profiler.computed.cost import cost
from nas.profiler.computed.operations import stated


class Calls(nn.Module):
    """A forward that is a function of a layer and the inputs."""

    def __init__(self, function: Callable[..., Any], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, *inputs: Any) -> Any:
        return self.function(self.layer, *inputs) if self.layer is not None else self.function(*inputs)


# --------------------------------------------------------------------------------- views in place


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda x: x.transpose_(0, 2), (4, 1, 3)),
        (lambda x: x.squeeze_(), (3, 4)),
        (lambda x: x.squeeze_(1), (3, 4)),
        (lambda x: x.unsqueeze_(0), (1, 3, 1, 4)),
        (lambda x: x.swapaxes_(1, 2), (3, 4, 1)),
        (lambda x: x.swapdims_(1, 2), (3, 4, 1)),
        (lambda x: x.as_strided_((2, 6), (6, 1)), (2, 6)),
        (lambda x: x.resize_((5, 2)), (5, 2)),
        (lambda x: x.squeeze_().t_(), (4, 3)),
        (lambda x: x.detach_(), (3, 1, 4)),
    ],
)
def test_a_view_in_place_changes_the_shape_and_costs_nothing(change: Any, shape: tuple[int, ...]) -> None:
    def forward(x: Tensor) -> Tensor:
        y = x + 1
        returned = change(y)
        assert tuple(y.shape) == shape and returned is y
        return y * 2

    numbers = int(np.prod(shape))
    figures = cost(Calls(forward), torch.zeros(3, 1, 4))
    assert figures.unknown == {} and {row.op for row in figures.operators} == {"add", "mul"}
    assert figures.elementwise == 12 + numbers
    assert figures.bytes_moved == 2 * 48 + 2 * 4 * numbers


def test_a_view_in_place_of_a_parameter_itself_is_refused() -> None:
    module = nn.Linear(2, 3)
    module.register_buffer("table", torch.zeros(2, 3))
    reshapes = Calls(lambda layer, x: x @ layer.table.t_().t(), module)
    with pytest.raises(NasError, match=r"aten\.t_.* changes the shape of a tensor of the module itself; allowed"):
        cost(reshapes, torch.zeros(1, 2))
    assert module.table.shape == (2, 3)


@pytest.mark.parametrize(("kind", "gates"), [(nn.GRU, 3), (nn.LSTM, 4), (nn.RNN, 1)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers_that_take_the_batch_first(kind: Any, gates: int, bidirectional: bool) -> None:
    """Each of 3 x 7 rows has two products per gate and direction; the last step of 3 goes on."""
    ways = 1 + bidirectional
    layer = kind(4, 6, batch_first=True, bidirectional=bidirectional)
    net = nn.ModuleList([layer, nn.Linear(6 * ways, 5)])
    figures = cost(Calls(lambda net, x: net[1](net[0](x)[0][:, -1]), net), torch.randn(3, 7, 4))
    assert figures.macs == ways * 3 * 7 * gates * 6 * (4 + 6) + 3 * 6 * ways * 5
    assert figures.unknown == {} and figures.step_bytes > figures.inference_bytes


@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences_cost_what_is_not_padding(enforce_sorted: bool) -> None:
    """5 + 3 + 1 rows of an LSTM; padded again to 6 steps of 3 sequences."""

    def forward(rnn: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted)
        y, found = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=6)
        assert y.shape == (3, 6, 8) and found.shape == (3,)
        return y

    net = Calls(forward, nn.LSTM(6, 8, batch_first=True))
    lengths = torch.tensor([5, 3, 1])
    figures = cost(net, torch.randn(3, 5, 6), lengths)
    assert figures.macs == 9 * 4 * 8 * (6 + 8)
    assert figures.step_bytes > 0
    given = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 5, 6), lengths, batch_first=True)
    assert cost(nn.GRU(6, 8), given).macs == 9 * 3 * 8 * (6 + 8)


# --------------------------------------------------------------------- parts that only look alike


class Gated(nn.Module):
    gate: Tensor

    def __init__(self, gate: Tensor) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.register_buffer("gate", gate)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.gate.flatten()[0] > 0.5 else x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_blocks_are_told_apart_by_the_numbers_of_their_buffers(dtype: torch.dtype) -> None:
    for shape in ((), (2, 3)):
        for gates in ((1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0)):
            net = nn.Sequential(*(Gated(torch.full(shape, gate, dtype=dtype)) for gate in gates))
            assert cost(net, torch.randn(3, 8)).macs == sum(gates) * 3 * 8 * 8


# ----------------------------------------------------------------------------- outputs and inputs


@dataclasses.dataclass
class Boxed:
    logits: Tensor
    more: Any = None


class Slotted:
    __slots__ = ("hidden",)

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


@pytest.mark.parametrize(
    "wrap",
    [
        Boxed,
        lambda y: Boxed(None, {"deep": [Boxed(y)]}),  # type: ignore[arg-type]
        lambda y: types.SimpleNamespace(y=y),
        lambda y: collections.deque([y]),
        Slotted,
        lambda y: {"out": Slotted(y)},
    ],
)
def test_an_output_of_any_class_has_a_backward_pass(wrap: Callable[[Tensor], Any]) -> None:
    def net(last: Callable[[Tensor], Any]) -> nn.Module:
        body = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 10))
        return Calls(lambda body, x: last(body(x)), body)

    x = torch.randn(128, 64)
    plain, wrapped = cost(net(lambda y: y), x), cost(net(wrap), x)
    assert plain.step_bytes == wrapped.step_bytes
    assert plain.activation_bytes == wrapped.activation_bytes


def test_an_input_of_any_class_is_an_input_and_stays_as_it_is() -> None:
    given = Boxed(torch.randn(4, 8), [torch.randn(4, 8)])
    before = given.logits, given.more[0]

    def forward(layer: nn.Module, box: Boxed) -> Tensor:
        box.more.append(layer(box.logits + box.more[0]))
        box.logits = box.more[-1]
        return box.logits

    figures = cost(Calls(forward, nn.Linear(8, 8)), given)
    assert figures.macs == 4 * 8 * 8 and figures.inference_bytes >= 3 * 4 * 8 * 4
    assert given.logits is before[0] and len(given.more) == 1 and given.more[0] is before[1]


# ------------------------------------------------------------------------------------------ state


class Memory:
    def __init__(self) -> None:
        self.items: list[Any] = []
        self.count = 0


class Keeps(nn.Module):
    """Leaves something in every place that it can."""

    seen: list[Any] = []  # noqa: RUF012
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.queue: collections.deque[Any] = collections.deque(maxlen=2)
        self.nested: dict[str, Any] = {"a": [[], {}], "b": ([],)}
        self.memory, self.slotted = Memory(), Slotted(torch.zeros(1))
        self.names, self.history = {"x"}, np.zeros(3)
        self.space = types.SimpleNamespace(step=0)
        self.counts: dict[str, int] = collections.Counter()
        self.loose = [nn.Linear(4, 4)]
        self.rng = np.random.default_rng(0)
        self.outside: list[Any] = []
        self.layer.register_forward_hook(lambda *_: self.outside.append(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.queue.append(y)
        self.nested["a"][0].append(y)
        self.nested["a"][1]["y"] = y
        self.nested["b"][0].append(y)
        self.memory.items.append(y)
        self.memory.count += 1
        self.memory.last = y  # type: ignore[attr-defined]
        self.slotted.hidden = y
        self.names.add("y")
        self.history[int(self.memory.count)] = 1
        self.space.step += 1
        self.counts["calls"] += 1
        self.seen.append(y)
        type(self).calls += 1
        self.loose[0].cache = y
        self.register_buffer("late", y)
        self.rng.random()
        return self.loose[0](y)


def state_of(value: Any, seen: dict[int, int]) -> Any:
    """A description of all that can be reached, by identity where it is a tensor."""
    if isinstance(value, Tensor):
        return id(value), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, [(k, state_of(v, seen)) for k, v in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return type(value).__name__, [state_of(v, seen) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, Memory | types.SimpleNamespace | nn.Module):
        if id(value) in seen:
            return seen[id(value)]
        seen[id(value)] = len(seen)
        return type(value).__name__, state_of(vars(value), seen)
    return getattr(value, "hidden", None) if isinstance(value, Slotted) else repr(value)


def test_whatever_a_module_keeps_is_as_it_was() -> None:
    module = Keeps()
    before = state_of(module, {}), list(Keeps.seen), Keeps.calls
    figures = cost(module, torch.randn(2, 4))
    assert figures.macs == 2 * 2 * 4 * 4
    assert figures.step_bytes > 0 and figures.activation_bytes > 0
    assert (state_of(module, {}), list(Keeps.seen), Keeps.calls) == before
    assert not hasattr(module, "late") and not hasattr(module.loose[0], "cache")
    assert all(p.grad is None for p in [*module.parameters(), *module.loose[0].parameters()])
    assert cost(module, torch.randn(2, 4)).to_dict() == figures.to_dict()


@functools.lru_cache
def triangle(size: int) -> Tensor:
    """As video Swin transformers keep the masks of their windows."""
    return torch.ones(size, size).tril()


def masked(x: Tensor) -> Tensor:
    return triangle(x.shape[-2]) @ x


class Caches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.doubled = functools.lru_cache(lambda size: torch.full((size,), 2.0))

    @functools.lru_cache(None)  # noqa: B019  # people do
    def places(self, size: int) -> Tensor:
        return torch.arange(float(size))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return masked(x) * self.doubled(4) + self.places(x.shape[-2])


def test_what_functions_remember_is_no_tensor_of_a_trace() -> None:
    module, x = Caches(), torch.ones(3, 4)
    assert cost(module, x).macs == 3 * 3 * 4
    expected = torch.tensor([1.0, 2.0, 3.0])[:, None] * 2 + torch.arange(3.0)[:, None]
    assert torch.equal(module(x), expected.expand(3, 4))
    assert cost(module, x).macs == 3 * 3 * 4
    assert torch.equal(module(x), expected.expand(3, 4))


class Counts(nn.Module):
    """Uses the next of what it holds, which is put back, and adds a hook."""

    def __init__(self, held: Any, use: Callable[[Any], object]) -> None:
        super().__init__()
        self.layer, self.held, self.again, self.use = nn.Linear(4, 4), held, [held], use

    def forward(self, x: Tensor) -> Tensor:
        self.use(self.held)
        self.layer.register_forward_hook(lambda *_: None)
        y: Tensor = self.layer(x)
        return y


def held_things() -> Iterator[tuple[Any, Callable[[Any], object], Callable[[Any], object]]]:
    """What a module may hold, what a forward does with it, and how to see it."""
    yield bytearray(b"ab"), lambda held: held.extend(b"c"), bytes
    yield array.array("i", [1, 2]), lambda held: held.append(3), list
    yield memoryview(bytearray(2)), lambda held: held.__setitem__(0, 7), bytes
    yield ctypes.c_int(3), lambda held: setattr(held, "value", 4), lambda held: held.value
    yield io.StringIO("abc"), lambda held: held.write("x"), lambda held: (held.getvalue(), held.tell())
    yield itertools.count(5), next, repr
    yield iter([1, 2, 3]), next, operator.length_hint
    yield iter(range(9)), next, operator.length_hint
    yield queue.Queue(), lambda held: held.put(1), lambda held: held.qsize()
    yield weakref.WeakValueDictionary({1: triangle}), lambda held: held.__setitem__(2, masked), lambda held: [*held]


@pytest.mark.parametrize(("held", "use", "seen"), list(held_things()), ids=lambda x: type(x).__name__)
def test_whatever_holds_state_is_as_it_was(
    held: Any, use: Callable[[Any], object], seen: Callable[[Any], object]
) -> None:
    module = Counts(held, use)
    before = seen(held)
    assert cost(module, torch.randn(2, 4)).step_bytes > 0
    assert seen(held) == before and module.held is held and module.again[0] is held
    assert not module.layer._forward_hooks
    use(held)
    assert seen(held) != before


def test_a_pointer_stays_where_a_forward_has_set_it() -> None:
    held = ctypes.c_char_p(bytes([97] * 50))
    module = Counts(held, lambda held: setattr(held, "value", b"b"))
    assert cost(module, torch.randn(2, 4)).step_bytes > 0
    assert held.value == b"b"  # what it pointed to before is gone


def test_a_view_of_nothing_is_no_obstacle() -> None:
    module = nn.Linear(4, 3)
    module.held = np.zeros((0, 2)).data  # type: ignore[assignment]
    assert cost(module, torch.randn(2, 4)).macs == 24


# --------------------------------------------------------------------------------------- refusals


def products() -> Iterator[tuple[str, Callable[..., Any], tuple[Tensor, ...]]]:
    wide, whole, bits = (
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(3, 4, dtype=torch.int64),
        torch.ones(3, 3) > 0,
    )
    yield "linear", F.linear, (wide, torch.zeros(4, 3))
    yield "matmul", torch.matmul, (torch.zeros(2, 3), whole)
    yield "bool", torch.matmul, (bits, bits)
    yield "linear by bias", F.linear, (torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(4, dtype=torch.float64))
    yield "bmm", torch.bmm, (torch.zeros(1, 2, 3), torch.zeros(1, 3, 2, dtype=torch.bfloat16))
    yield "conv", F.conv2d, (torch.zeros(1, 2, 4, 4, dtype=torch.float64), torch.zeros(1, 2, 3, 3))
    yield "cdist", torch.cdist, (torch.zeros(2, 3), wide)
    yield "addmm", torch.addmm, (wide[:, :1], torch.zeros(2, 3), torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("name", "function", "inputs"), list(products()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_products_that_torch_refuses_are_refused(
    name: str, function: Callable[..., Any], inputs: tuple[Tensor, ...]
) -> None:
    with pytest.raises(RuntimeError):
        function(*inputs)
    with pytest.raises(NasError, match=r"cannot run on inputs of .*torch does not multiply .*; allowed"):
        cost(Calls(function), *inputs)


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.BatchNorm1d(8), nn.GroupNorm(2, 8)], ids=str)
def test_norms_take_the_dtypes_that_torch_takes(norm: nn.Module) -> None:
    x = torch.randn(2, 8)
    with pytest.raises(RuntimeError, match="mixed dtype"):
        norm(x.double())
    with pytest.raises(NasError, match=r"torch does not take float64 with parameters of float32"):
        cost(norm, x.double())
    assert cost(norm, x.bfloat16()).elementwise == 16


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(NasError, match=r"makes a tensor that is sparse_coo; allowed: dense tensors"):
        cost(Calls(lambda x: torch.sparse.mm(torch.eye(5).to_sparse(), x)), torch.zeros(5, 3))


def test_whole_numbers_are_multiplied_too() -> None:
    a, b = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)
    assert cost(Calls(torch._int_mm), a, b).macs == 32 * 16 * 8
    assert cost(Calls(torch.matmul), a, b).macs == 32 * 16 * 8


def test_lazy_layers_want_one_forward_first() -> None:
    module, x = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5)), torch.randn(1, 2, 5, 5)
    with pytest.raises(NasError, match=r"LazyConv2d '0' .*before its first forward; allowed: lazy modules that ran"):
        cost(module, x)
    module(x)
    assert cost(module, x).macs == 4 * 9 * 18 + 36 * 5


def test_a_higher_order_operator_without_a_rule_is_named() -> None:
    from torch._higher_order_ops.out_dtype import out_dtype

    module = Calls(lambda a, b: out_dtype(torch.ops.aten.mm.default, torch.int32, a, b))
    a = torch.zeros(2, 2, dtype=torch.int8)
    with pytest.raises(NasError, match=r"^the cost of higher-order operator out_dtype is not known; allowed"):
        cost(module, a, a)


# -------------------------------------------------------------------- what stands above operators


def test_marks_for_a_profiler_and_parallel_wrappers_cost_nothing() -> None:
    def marked(layer: nn.Module, x: Tensor) -> Tensor:
        with record_function("stage"):
            return layer(x)

    x = torch.randn(2, 4)
    for net in (
        Calls(marked, nn.Linear(4, 5)),
        nn.DataParallel(nn.Linear(4, 5)),
        nn.Sequential(nn.DataParallel(nn.Linear(4, 5))),
    ):
        figures = cost(net, x)
        assert figures.macs == 40 and figures.unknown == {} and figures.step_bytes > 0


def test_scripted_modules_have_rows_and_a_training_step() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, net = torch.randn(2, 4), nn.Sequential(nn.Linear(4, 5), nn.Dropout()).eval()
        frozen = torch.jit.freeze(torch.jit.script(net))
        modules = [torch.jit.script(net), torch.jit.trace(net, x), frozen, nn.Sequential(torch.jit.script(net))]
    for module in modules:
        figures = cost(module, x)
        assert figures.macs == 40 and sum(row.macs for row in figures.layers) == 40
        assert figures.activation_bytes >= 0 and figures.step_bytes >= figures.inference_bytes
    script = torch.jit.script(net).train()
    kept = cost(script, x)
    assert not any(row.op == "native_dropout" for row in kept.operators) and script.training


@pytest.mark.parametrize("heads", [1, 4])
def test_flex_attention_multiplies_all_scores(heads: int) -> None:
    """4 heads of queries over 4 or 1 of keys: two products of 16 x 16 x 8 for each of 2 x 4."""
    net = Calls(
        lambda layer, x, kv: flex_attention(layer(x), kv, kv, score_mod=lambda s, b, h, q, k: s + q, enable_gqa=True),
        nn.Linear(8, 8),
    )
    x, kv = torch.randn(2, 4, 16, 8), torch.randn(2, heads, 16, 8)
    figures = cost(net, x, kv)
    assert figures.macs == 2 * 4 * 16 * (2 * 16 * 8 + 8 * 8)
    assert figures.step_bytes > figures.inference_bytes


def test_control_flow_takes_the_branch_that_shapes_and_constants_choose() -> None:
    net = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4, bias=False)])

    def chosen(net: nn.ModuleList, x: Tensor) -> Tensor:
        return torch.cond(x.shape[0] > 1, lambda v: net[0](net[1](v)), lambda v: net[1](v), (x,))

    assert cost(Calls(chosen, net), torch.randn(3, 4)).macs == 2 * 3 * 16
    assert cost(Calls(chosen, net), torch.randn(1, 4)).macs == 16
    unknown = Calls(lambda x: torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (x,)))
    with pytest.raises(NasError, match=r"reads numbers of its activations \(torch.cond\)"):
        cost(unknown, torch.randn(64))


def test_compiled_functions_run_as_they_are_written() -> None:
    assert cost(Calls(lambda x: torch.compile(lambda y: y @ y.T)(x)), torch.randn(3, 5)).macs == 45


def test_quantized_modules_multiply_as_they_did_before() -> None:
    quantization = torch.ao.quantization
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 5)), {nn.Linear})
        static = quantization.QuantWrapper(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))).eval()
        static.qconfig = quantization.get_default_qconfig("fbgemm")
        picture = torch.randn(1, 3, 8, 8)
        quantization.prepare(static, inplace=True)(picture)
        static = quantization.convert(static)
        assert cost(dynamic, torch.randn(2, 4)).macs == 40
        assert cost(static, picture).macs == 36 * (8 * 27 + 2 * 8)


def test_bilinear_layers_contract_one_input_after_the_other() -> None:
    """For 2 rows and 5 outputs: 4 x 6 with the first input, then 6 with the second."""
    figures = cost(Calls(lambda layer, a, b: layer(a, b), nn.Bilinear(4, 6, 5)), torch.randn(2, 4), torch.randn(2, 6))
    assert figures.macs == 2 * 5 * (4 * 6 + 6) and figures.unknown == {} and figures.step_bytes > 0


# ------------------------------------------------------------------------- costs that users state


@torch.library.custom_op("nas_tests::outer", mutates_args=())
def outer(x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
    return scale * x[:, None] * y


@pytest.fixture
def unstated() -> Iterator[None]:
    yield
    stated.clear()
    effects.forget()


def test_the_cost_of_an_operator_can_be_stated(unstated: None) -> None:
    net, x, y = Calls(lambda a, b: outer(a, b, scale=2.0)), torch.zeros(3), torch.zeros(4)
    assert cost(net, x, y).unknown == {"nas_tests::outer": 1}
    nas.register_operator_cost("nas_tests::outer", lambda x, y, scale, out: out.numel() * int(scale))
    figures = cost(net, x, y)
    assert figures.unknown == {} and figures.macs == 24 and figures.elementwise == 0
    nas.register_operator_cost("nas_tests::outer", lambda x, y, *_, out: (0, len(x) * len(y)))
    assert (cost(net, x, y).macs, cost(net, x, y).elementwise) == (0, 12)


def test_wrong_statements_are_refused(unstated: None) -> None:
    with pytest.raises(NasError, match=r"operator 'outer' is not allowed; allowed: namespace::name"):
        nas.register_operator_cost("outer", lambda *_, out: 1)
    with pytest.raises(NasError, match=r"cost of operator a::b is 3; allowed: a function"):
        nas.register_operator_cost("a::b", 3)  # type: ignore[arg-type]
    for wrong, said in ((lambda *_, out: -1, "is -1; allowed"), (lambda x: 0, r"failed \(TypeError")):
        nas.register_operator_cost("nas_tests::outer", wrong)
        with pytest.raises(NasError, match=f"cost of operator nas_tests::outer {said}"):
            cost(Calls(outer), torch.zeros(3), torch.zeros(4))


class Elsewhere(nn.Module):
    """Runs its layer in a thread, or with a derivative beside it."""

    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(4, 4), way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self.layer, x)


def in_a_thread(layer: nn.Module, x: Tensor) -> Tensor:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        y: Tensor = pool.submit(layer, x).result()
    return y


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (in_a_thread, "reached a tensor of a trace outside of it, in another thread or later; allowed: tensors of one"),
        (
            lambda layer, x: torch.func.jvp(layer, (x,), (x,))[1],
            r"carried forward, as of torch\.func\.jvp, need numbers",
        ),
    ],
)
def test_what_a_trace_cannot_follow_is_named(way: Callable[[nn.Module, Tensor], Tensor], words: str) -> None:
    with pytest.raises(NasError, match=words):
        cost(Elsewhere(way), torch.ones(2, 4))
