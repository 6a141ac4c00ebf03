"""The cost model: published figures, and the sum over parts equals the traced whole."""

import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.models.network import build
from nas.profiler.cost import cost, trace
from nas.space import SearchSpace

BLOCKS = [{"op": "full3d"}] * 2
HALVED = {"op": "in_layer", "stride": [2, 2, 2]}
R3D_18 = {
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


def test_pst_t_within_one_percent_of_the_published_multiply_adds() -> None:
    stages = []
    for i, depth in enumerate((2, 2, 6, 2)):
        layers = [
            {"op": "tps", "heads": 3 * 2**i, "shift": "patch" if j % 2 else "channel", "cyclic": j % 2 == 1}
            for j in range(depth)
        ]
        downsample = {"op": "conv", "stride": [1, 2, 2]} if i else None
        stages.append({"width": 96 * 2**i, "downsample": downsample, "layers": layers})
    stem = {"op": "patch", "size": [2, 4, 4], "position": "none", "norm": True}
    figures = cost(Architecture.parse({"input": {"frames": 32}, "stem": stem, "stages": stages}))
    assert abs(figures.macs / 72e9 - 1) < 0.01


@pytest.mark.parametrize(("name", "count"), [("hybrid", 12), ("conv", 8), ("vit", 8), ("tiny", 8)])
def test_the_sum_over_parts_equals_the_traced_whole(name: str, count: int) -> None:
    space = SearchSpace.load(name)
    for seed in range(count):
        architecture = space.sample(seed)
        shape = architecture.input.shape
        clip = torch.empty(1, shape.channels, *shape.extent, device="meta")
        whole = trace(build(architecture, device="meta"), clip)
        figures = cost(architecture)
        assert (figures.macs, figures.params) == (whole.macs, whole.params)
        assert figures.activation_bytes == whole.activation_bytes


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

    record = trace(Attend(), torch.empty(2, 3, 10, 8, device="meta", requires_grad=True))
    assert record.macs == 2 * 2 * 3 * 10 * 10 * 8
    numbers = 2 * 3 * 10 * 8
    # q is the input; k, v and one number per query are inside; the output goes out.
    assert (record.inner_bytes, record.keeps_input, record.keeps_output) == (4 * (2 * numbers + 60), True, True)


def test_rows_add_up_and_name_their_parts() -> None:
    figures = cost(Architecture.parse(R3D_18))
    assert [row.path for row in figures.layers[:3]] == ["stem", "stages.0.layers.0", "stages.0.layers.1"]
    assert sum(row.macs for row in figures.layers) == figures.macs
    assert figures.layers[0].macs == 16 * 56 * 56 * 64 * 3 * 3 * 7 * 7
    assert figures.layers[-1].macs == 512 * 400


def test_a_thousand_hybrid_candidates_build_and_price() -> None:
    """Parts are built on the meta device when they are priced, each kind once; ten networks are built whole."""
    space = SearchSpace.load("hybrid")
    for seed in range(1000):
        architecture = space.sample(seed)
        assert cost(architecture).macs > 0
        if seed % 100 == 0:
            assert build(architecture, device="meta")(torch.empty(1, 3, 16, 224, 224, device="meta")).shape == (1, 400)
