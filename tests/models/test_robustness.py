"""Every operator, stem, downsampling and head: trains, autocasts, compiles, exports, saves; copies
of maps are counted.

What each computes is in tests/models/layers and test_network.py; whole networks are in
test_reference_files.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from cases import CLIP, CLIP_TOKEN, FRAME_TOKENS, TOKENS, Case, default_cases, gathered, layer_cases
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.architecture import (
    DOWNSAMPLES,
    HEADS,
    LAYERS,
    STEMS,
    AttentionHead,
    ClassTokenHead,
    Config,
    ConvDownsample,
    ConvHead,
    ConvStem,
    FramePool,
    InLayerDownsample,
    LayerConfig,
    MeanHead,
    MergeDownsample,
    PatchStem,
    Shape,
    StemTube,
    TubeStem,
)
from nas.models.convolution import convolve
from nas.models.network import build_part

STEM_TUBES = (
    StemTube(kernel=(2, 4, 4), stride=(2, 4, 6), space_to_depth=(2, 1, 2)),
    StemTube(kernel=(1, 5, 5), stride=(3, 5, 7), offset=(0, 1, 2)),
)
PATCHES: tuple[Any, ...] = (
    ("none", "none", True),
    ("joint", "clip", False),
    ("factorized", "clip", True),
    ("spatial", "frame", False),
)
OTHER_CASES = (
    Case(ConvStem(), CLIP),
    Case(ConvStem(norm="layer", stride=(2, 4, 4)), CLIP),
    Case(ConvStem(kernel=(1, 3, 3), stride=(1, 2, 2), temporal_kernel=5), CLIP),
    Case(ConvStem(kernel=(1, 7, 7), stride=(1, 2, 2), temporal_kernel=3, inner_width=5), CLIP),
    *(
        Case(PatchStem(size=(1, 5, 7), position=position, class_tokens=tokens, norm=norm), CLIP)
        for position, tokens, norm in PATCHES
    ),
    Case(PatchStem(size=(3, 3, 3)), CLIP),
    Case(TubeStem(tubes=STEM_TUBES), CLIP),
    Case(TubeStem(tubes=STEM_TUBES[1:], interpolated=True), CLIP),
    Case(ConvDownsample(stride=(2, 2, 2)), width=48),
    Case(MergeDownsample(stride=(2, 2, 2)), width=48),
    Case(FramePool(class_token=True)),
    Case(FramePool(position=False), FRAME_TOKENS),
    *(Case(MeanHead(norm=norm)) for norm in ("before", "frame", "after", "none")),
    Case(MeanHead(), TOKENS),
    Case(AttentionHead()),
    Case(ClassTokenHead(), CLIP_TOKEN),
    Case(ConvHead(inner_width=24, width=40, dropout=0.0)),
)
OTHERS: tuple[type[Config], ...] = (*STEMS.types(), *DOWNSAMPLES.types(), *HEADS.types())
LISTED = {type(case.config) for case in OTHER_CASES} | {InLayerDownsample}  # which the first layer does
CASES = (
    *layer_cases(),
    *OTHER_CASES,
    *(case for kind in OTHERS if kind not in LISTED for case in default_cases(kind)),
)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_option_is_a_case() -> None:
    """Every value of every option that is a choice; every operator that may carries a stride."""
    listed: dict[type[Config], list[Config]] = {}
    for case in CASES:
        listed.setdefault(type(case.config), []).append(case.config)
    assert {type(case.config) for case in CASES if case.stride != (1, 1, 1)} == {
        kind for kind in LAYERS.types() if kind.strides_allowed
    }
    for kind, configs in listed.items():
        for name, field in kind.model_fields.items():
            choices = {False, True} if field.annotation is bool else set(get_args(field.annotation))
            if name != "activation" and (field.annotation is bool or get_origin(field.annotation) is Literal):
                assert {getattr(config, name) for config in configs} == choices, f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", LAYERS.types(), ids=lambda kind: kind.op_name())
def test_an_operator_without_cases_of_its_own_has_some(kind: type[LayerConfig]) -> None:
    """They can be built; one stands on each kind of map that the type may stand on."""
    cases = list(default_cases(kind))
    assert all(case.part.output.channels == case.width for case in cases)
    assert len(cases) == 1 + kind.tokens_allowed + 2 * kind.class_tokens_allowed + kind.strides_allowed


def gradients(module: nn.Module, inputs: tuple[Tensor, ...], autocast: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Output in float32, and the gradients of inputs and parameters under the same random weights
    of the output.
    """
    leaves = [*(x.detach().requires_grad_() for x in inputs), *module.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = module(*leaves[: len(inputs)]).float()
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    # Without allow_unused a leaf that the output does not depend on is an error.
    return y.detach(), list(torch.autograd.grad((y * weights).sum(), leaves))


@every_case
def test_it_trains_and_keeps_maps_contiguous(case: Case) -> None:
    module = case.build()
    y, grads = gradients(module, case.inputs())
    assert y.shape == case.output_shape
    assert module(*case.inputs()).is_contiguous()
    assert all(grad.isfinite().all() for grad in (y, *grads))


@every_case
def test_it_builds_and_runs_on_the_meta_device(case: Case) -> None:
    with torch.device("meta"):
        module = build_part(case.part)
    assert all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    assert module(*(x.to("meta") for x in case.inputs())).shape == case.output_shape


@every_case
def test_it_comes_from_the_meta_device_by_its_state(case: Case) -> None:
    module = case.build().eval()
    with torch.device("meta"):
        empty = build_part(case.part)
    empty = empty.to_empty(device="cpu").eval()
    empty.load_state_dict(module.state_dict())
    assert torch.equal(empty(*case.inputs()), module(*case.inputs()))


@every_case
def test_bfloat16_is_near_float32(case: Case) -> None:
    """Rounding to bfloat16 is 2^-9 relative: some ten in a row stay below 2 % in norm.

    Gradients differ by up to 10 %, because of the ReLUs whose input rounds to the other side of
    zero; a wrong term, or values left unwritten, would make differences of order 1.
    """
    module = case.build()
    y, grads = gradients(module, case.inputs())
    y16, grads16 = gradients(module, case.inputs(), autocast=True)
    assert (y16 - y).norm() < 0.02 * y.norm()
    grad, grad16 = (torch.cat([g.flatten() for g in every]) for every in (grads, grads16))
    assert (grad16 - grad).norm() < 0.2 * grad.norm()


@every_case
def test_it_survives_safetensors(case: Case, tmp_path: Path) -> None:
    module, again = case.build().eval(), case.build(seed=3).eval()
    save_file(module.state_dict(), tmp_path / "module.safetensors")
    again.load_state_dict(load_file(tmp_path / "module.safetensors"))
    assert torch.equal(again(*case.inputs()), module(*case.inputs()))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Compiled graphs of other tests count towards dynamo's limit."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@every_case
@pytest.mark.usefixtures("fresh_compiler")
def test_it_compiles_as_one_graph_with_its_backward(case: Case) -> None:
    module = case.build()
    expected = gradients(module, case.inputs())
    module.compile(fullgraph=True, backend="aot_eager")
    y, grads = gradients(module, case.inputs())
    torch.testing.assert_close((y, *grads), (expected[0], *expected[1]), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on CPU needs a C++ compiler")
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    "case", {case.config.op: case for case in reversed(CASES) if isinstance(case.config, LayerConfig)}.values(), ids=str
)
def test_it_compiles_with_inductor(case: Case) -> None:
    """One case of every operator, because each takes seconds."""
    module = case.build().eval()
    with torch.no_grad():
        y = torch.compile(module, fullgraph=True)(*case.inputs())
        torch.testing.assert_close(y, module(*case.inputs()), atol=1e-4, rtol=1e-4)


@every_case
@pytest.mark.usefixtures("fresh_compiler")
def test_it_exports(case: Case) -> None:
    """Of two clips, for any number of them: it gives the same of one, two and five.

    In double precision, because other kernels may run in an export than in `convolve`.
    """
    module, inputs = case.build().eval().double(), tuple(x.double() for x in case.inputs())
    clips = torch.export.Dim("batch")
    exported = torch.export.export(module, inputs, dynamic_shapes=tuple({0: clips} for _ in inputs)).module()
    for places in ([1], [0, 1], [1, 0, 0, 1, 1]):
        given = tuple(x[places] for x in inputs)
        assert torch.allclose(exported(*given), module(*given), atol=1e-12)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("case", {type(case.config): case for case in reversed(CASES)}.values(), ids=str)
def test_what_was_traced_with_one_clip_runs_on_two(case: Case) -> None:
    module, inputs = case.build().eval(), case.inputs()
    traced: Any = torch.jit.trace(module, tuple(x[:1] for x in inputs), check_trace=False)
    assert torch.allclose(traced(*inputs), module(*inputs), atol=1e-5)


class CountCopies(TorchDispatchMode):
    """Number of values that every operator that only moves them writes, in order."""

    MOVES = ("clone", "copy_", "_to_copy", "contiguous", "cat", "stack", "constant_pad_nd", "index_select", "roll")

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in self.MOVES:
            self.sizes.append(result.numel())
        return result


def copies_of_maps(module: nn.Module, x: Tensor) -> list[float]:
    """Sizes, in multiples of x, of the copies as large as x or larger in one forward pass."""
    with torch.no_grad(), CountCopies() as copies:
        module.eval()(x)
    return [size / x.numel() for size in copies.sizes if size >= x.numel()]


EVEN = Shape(4, 6, 8, 32)  # windows of 2x3x4 and 3x4 fit without padding


@pytest.mark.parametrize(
    ("config", "expected"),
    gathered("COPIES"),
    ids=lambda value: str(Case(value)) if isinstance(value, Config) else "",
)
def test_a_block_copies_no_map_without_need(config: LayerConfig, expected: list[float]) -> None:
    """Of 8 clips, so that composed kernels and attention biases, which are also copied, are smaller
    than a map.
    """
    module = Case(config, EVEN).build()
    assert copies_of_maps(module, torch.randn(8, *EVEN.extent, EVEN.channels)) == expected


@pytest.mark.parametrize("size", [(4, 6, 8), (3, 5, 7), (1, 6, 8), (4, 1, 1), (4, 6, 1)], ids=str)
@pytest.mark.parametrize("groups", [1, 32], ids=["dense", "depthwise"])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 1, 1), (3, 1, 3), (3, 3, 1)], ids=str)
def test_convolutions_read_and_write_channels_last(
    kernel: tuple[int, int, int], groups: int, size: tuple[int, int, int]
) -> None:
    """Also depthwise in 3D. Of 32 clips, because `convolve` runs large kernels on small maps
    channels first.

    Depthwise 5x1x1 would come out of a 3D convolution channels first; as a 2D one it does not.
    """
    weight = torch.randn(32, 32 // groups, *kernel)
    x = torch.randn(32, *size, 32)
    with CountCopies() as copies:
        assert convolve(x, weight, groups=groups).is_contiguous()
    assert copies.sizes == []


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((2, 8, 8), (3, 3, 3), (1, 1, 1)),  # the last stage of R3D-18 on 16 frames
        ((2, 8, 8), (3, 3, 3), (1, 2, 2)),
        ((4, 8, 8), (7, 3, 3), (1, 1, 1)),
        ((2, 8, 8), (3, 1, 3), (1, 1, 1)),
        ((4, 8, 8), (5, 3, 3), (2, 2, 2)),
        ((6, 1, 1), (3, 5, 5), (1, 1, 1)),
        ((2, 1, 1), (1, 3, 3), (1, 2, 2)),
        ((2, 3, 3), (5, 1, 1), (1, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("groups", [1, 32], ids=["dense", "depthwise"])
def test_bfloat16_gradients_of_kernels_longer_than_the_map(
    size: tuple[int, int, int], kernel: tuple[int, int, int], stride: tuple[int, int, int], groups: int
) -> None:
    """oneDNN's own padding leaves values of the gradient unwritten: freed memory full of NaN shows
    them.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 32 // groups, *kernel, generator=generator, requires_grad=True)
    x = torch.randn(2, *size, 32, generator=generator, requires_grad=True)
    expected = convolve(x, weight, stride=stride, groups=groups)
    towards = torch.randn(expected.shape, generator=generator)
    exact = torch.autograd.grad(expected, (x, weight), towards)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolve(x, weight, stride=stride, groups=groups)
    assert y.shape == expected.shape
    freed = [torch.full_like(tensor, float("nan")) for tensor in (weight, weight, x, x)]
    del freed
    for grad, reference in zip(torch.autograd.grad(y, (x, weight), towards.to(y.dtype)), exact, strict=True):
        assert (grad - reference).norm() < 0.01 * reference.norm()


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize(
    "config",
    [
        ConvStem(),
        ConvStem(norm="layer", stride=(2, 4, 4)),
        ConvStem(kernel=(1, 3, 3), stride=(1, 2, 2), temporal_kernel=5),
        PatchStem(size=(1, 5, 7)),
        PatchStem(size=(3, 5, 7)),
    ],
    ids=lambda config: str(Case(config, CLIP)),
)
def test_a_stem_copies_the_clip_alone(config: Config, clips: int) -> None:
    """Its channels go last before the first convolution, and not after it, where there are more."""
    module = Case(config, CLIP).build().eval()
    clip = torch.randn(clips, 3, *CLIP.extent)
    with torch.no_grad(), CountCopies() as copies:
        module(clip.permute(0, 2, 3, 4, 1))
    assert copies.sizes == [clip.numel()]
