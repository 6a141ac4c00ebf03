"""The cost model: published figures, and the sum over parts equals the traced whole."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.architecture import Architecture, JointFilter, load
from nas.models.network import build
from nas.profiler.computed.cost import Cost, cost
from nas.profiler.computed.parts import record
from nas.resources import resource_names
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")
CLIP = torch.empty(1, 3, 8, 32, 32, device="meta")

BLOCKS = [{"op": "full3d"}] * 2
HALVED = {"op": "in_layer", "stride": [2, 2, 2]}
R3D_18: dict[str, Any] = {
    "input": {"frames": 16, "size": 112},
    "stem": {"op": "conv", "kernel": [3, 7, 7], "stride": [1, 2, 2]},
    "stages": [
        {"width": 64, "layers": BLOCKS},
        *({"width": w, "downsample": HALVED, "layers": BLOCKS} for w in (128, 256, 512)),
    ],
    "head": {"op": "mean", "norm": "none"},
}


def test_r3d_18_as_published() -> None:
    figures = cost(Architecture.parse(R3D_18))
    assert figures.params == 33_371_472
    assert round(figures.macs / 1e9, 2) == 40.70


FIGURES = (
    "macs",
    "params",
    "elementwise",
    "bytes_moved",
    "activation_bytes",
    "inference_bytes",
    "step_bytes",
    "parameter_bytes",
    "operators",
)


def traced_whole(architecture: Architecture, batch: int = 1) -> Cost:
    shape = architecture.input.shape
    clip = torch.empty(batch, shape.channels, *shape.extent, device="meta")
    return cost(build(architecture, device="meta"), clip)


def same(architecture: Architecture) -> bool:
    whole, figures = traced_whole(architecture), cost(architecture)
    return all(getattr(whole, name) == getattr(figures, name) for name in FIGURES)


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize(
    ("name", "count", "frames", "size"),
    [
        ("hybrid", 3, 6, (72, 56)),
        ("conv", 1, 5, (40, 56)),
        ("vit", 3, 32, (112, 96)),
        ("swin", 1, 6, (72, 56)),
        ("tiny", 3, 5, (40, 36)),
    ],
    ids=["hybrid", "conv", "vit", "swin", "tiny"],
)
def test_the_sum_over_parts_equals_the_traced_whole(
    name: str, count: int, frames: int, size: tuple[int, int], tenth: int
) -> None:
    """30 candidates of hybrid, with some 300 pairs of neighbouring layers, and 10 to 30 of any
    other; the first of a group at its own input, the rest smaller.
    """
    space = SearchSpace.load(name)
    for i in range(count):
        architecture = space.sample(tenth * count + i)
        if i:
            architecture = architecture.resized(frames, size)
        assert same(architecture)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.lists(st.integers(4, 16), min_size=2, max_size=2).map(sorted))
def test_more_frames_never_cost_less(seed: int, frames: list[int]) -> None:
    architecture = TINY.sample(seed)
    short, long = (cost(architecture.resized(n, 32)) for n in frames)
    assert short.macs <= long.macs
    assert short.params <= long.params
    assert short.activation_bytes <= long.activation_bytes


@pytest.mark.parametrize(("name", "seed"), [("tiny", 0), ("tiny", 4), ("hybrid", 0)])
def test_the_peak_of_a_step_is_known_for_batches(name: str, seed: int) -> None:
    architecture = SearchSpace.load(name).sample(seed).resized(8, (32, 32))
    figures = cost(architecture)
    assert figures.step_peak(1) == figures.step_bytes
    exact = traced_whole(architecture, 16).step_bytes
    assert figures.step_peak(16) == pytest.approx(exact, rel=0.01)
    assert figures.training_bytes("adamw", 16) == figures.step_peak(16) + 12 * figures.params
    assert exact < 16 * figures.step_bytes <= cost(build(architecture, device="meta"), CLIP).step_peak(16)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_clips_of_a_batch_cost_the_same_each(seed: int) -> None:
    """Composing the kernel of a joint filter is paid once per forward, everything else once per
    clip.
    """
    architecture = TINY.sample(seed).resized(5, (24, 32))
    one, two, three = (traced_whole(architecture, batch) for batch in (1, 2, 3))
    per_clip = two.macs - one.macs
    assert three.macs - two.macs == per_clip
    assert one.params == two.params
    composed = any(isinstance(layer, JointFilter) for stage in architecture.stages for layer in stage.layers)
    assert (one.macs > per_clip) if composed else (one.macs == per_clip)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_remembered_cost_is_the_fresh_one(seed: int) -> None:
    architecture = TINY.sample(seed).resized(5, (24, 32))
    remembered = cost(architecture).to_dict()
    record.cache_clear()
    assert cost(architecture).to_dict() == remembered
    misses = record.cache_info().misses
    assert cost(architecture).to_dict() == remembered
    assert record.cache_info().misses == misses


def ends(stem: dict[str, Any], head: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Multiply-adds and parameters of stem, downsampling and head around full 3D layers; 4x20x28
    in, 5 classes out.
    """
    data = {
        "input": {"frames": 4, "size": [20, 28]},
        "num_classes": 5,
        "stem": stem,
        "stages": [
            {"width": 8, "layers": [{"op": "full3d"}]},
            {"width": 16, "downsample": {"op": "conv", "stride": [1, 2, 2]}, "layers": [{"op": "full3d"}]},
        ],
        "head": head,
    }
    return {row.path: (row.macs, row.params) for row in cost(Architecture.parse(data)).layers}


def test_stems_downsampling_and_heads_equal_their_closed_forms() -> None:
    vov3d = {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2], "temporal_kernel": 5}
    rows = ends(vov3d, {"op": "attention"})
    cells = 4 * 10 * 14
    assert rows["stem"] == (cells * 8 * (27 + 5), 8 * (27 + 5) + 16)
    # 10x14 becomes 5x7.
    assert rows["stages.1.downsample"] == (4 * 5 * 7 * 8 * 4 * 16, 16 + 8 * 4 * 16 + 16)
    assert rows["head"] == (2 * 4 * 5 * 7 * 16 + 16 * 5, 16 * 2 + 16 + 16 * 5 + 5)
    rows = ends({"op": "patch", "size": [2, 4, 4], "norm": True}, {"op": "mean"})
    assert rows["stem"] == (2 * 5 * 7 * 8 * 2 * 4 * 4 * 3, 8 * 96 + 8 + 8 * (5 * 7 + 2) + 16)
    # 5x7 is padded to 6x8.
    assert rows["stages.1.downsample"][0] == 2 * 3 * 4 * 8 * 4 * 16
    assert rows["head"] == (16 * 5, 32 + 16 * 5 + 5)


def test_multiply_adds_of_the_papers_tubes() -> None:
    """98 + 147 + 98 + 196 tokens; space-to-depth by f makes f outputs of width / f each, so it
    changes no count.
    """
    layers = [{"op": "factorized", "heads": 4, "variant": "joint"}]
    data = {"input": {"frames": 32}, "stem": {"op": "tube"}, "stages": [{"width": 48, "layers": layers}]}
    stem, layer, _ = cost(Architecture.parse(data)).layers
    assert stem.macs == 3 * 48 * (98 * 8 * 8 * 8 + 147 * 16 * 4 * 4 + 98 * 4 * 12 * 12 + 196 * 16 * 16)
    assert layer.macs == 12 * 48**2 * 539 + 2 * 539**2 * 48


def test_kept_bytes_equal_those_of_a_real_pass() -> None:
    data = {**R3D_18, "input": {"frames": 4, "size": 32}, "num_classes": 5}
    data["stages"] = [*data["stages"][:2], {"width": 128, "layers": [{"op": "d2plus1d"}, {"op": "joint_filter"}]}]
    architecture = Architecture.parse(data)
    network = build(architecture)
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        network(torch.randn(1, 3, 4, 32, 32))
    real = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    assert cost(architecture).activation_bytes == real


def test_attention_keeps_what_a_fused_kernel_keeps() -> None:
    class Attend(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x * 1, x * 1)

    figures = cost(Attend(), torch.empty(2, 3, 10, 8, requires_grad=True))
    assert figures.macs == 2 * 2 * 3 * 10 * 10 * 8
    # Queries, keys, values, the output and one number per query.
    assert figures.activation_bytes == 4 * (4 * 2 * 3 * 10 * 8 + 60)


def test_rows_add_up_and_name_their_parts() -> None:
    figures = cost(Architecture.parse(R3D_18))
    assert [row.path for row in figures.layers[:3]] == ["stem", "stages.0.layers.0", "stages.0.layers.1"]
    assert sum(row.macs for row in figures.layers) == figures.macs
    assert figures.layers[0].macs == 16 * 56 * 56 * 64 * 3 * 3 * 7 * 7
    assert figures.layers[-1].macs == 512 * 400


@pytest.mark.parametrize("name", resource_names("search_spaces/reference"))
def test_a_reference_network_costs_what_its_traced_whole_does(name: str) -> None:
    assert same(load(name))


def test_a_gate_keeps_the_tokens_of_the_stem() -> None:
    """They are needed for its gradient, once however many layers have one; here nothing else keeps
    them twice.
    """
    block = {"op": "factorized", "heads": 2, "variant": "joint"}
    stem = {"op": "tube", "tubes": [{"kernel": [2, 8, 8], "stride": [2, 8, 8]}]}
    for gated in ([False, True, True], [False, True, False]):
        layers = [{**block, "stem_gate": gate} for gate in gated]
        data = {"input": {"frames": 4, "size": 32}, "stem": stem, "stages": [{"width": 24, "layers": layers}]}
        architecture = Architecture.parse(data)
        assert same(architecture)
