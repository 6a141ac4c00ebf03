"""Counts of other tools beside ours, of modules whose multiply-adds are worked out by hand."""

import copy
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import NasError
from nas.profiler.computed import compare as compare_module
from nas.profiler.computed.compare import Comparison, ToolCount, compare
from nas.profiler.computed.counters import TOOLS


class Fused(nn.Module):
    """Two heads of 4 over 8 tokens: a linear layer of 8 * 8 * 8 = 512, an attention of 2 * 8 * 8 *
    (4 + 4) = 1024.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x).view(1, 8, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(y, y, y)


class SelfAttention(nn.Module):
    """4 tokens of 8 in 2 heads: 4 * 8 * 24 + 2 * 4 * 4 * (4 + 4) + 4 * 8 * 8 = 1280."""

    def __init__(self, keywords: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.keywords = keywords

    def forward(self, x: Tensor) -> Tensor:
        if self.keywords:
            y: Tensor = self.attention(query=x, key=x, value=x)[0]
        else:
            y = self.attention(x, x, x)[0]
        return y


class Causal(nn.Conv3d):
    """3 to 4 channels over 2 x 4 x 4 positions, a kernel of 1: 32 * 12 = 384, and 128 biases."""


class Contraction(nn.Module):
    """4 x 4 products of 8 numbers: 128, and a matrix product of 4 * 4 * 8 = 128."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(torch.einsum("bnc,bmc->bnm", x, x), x)


class Normed(nn.Module):
    """A linear layer of 4 * 8 * 8 = 256 with 32 biases, behind a norm of 32 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> dict[str, Tensor]:
        y = self.linear(self.norm(x))
        return {"y": y if scale is None else y * scale}


def by_tool(comparison: Comparison) -> dict[str, ToolCount]:
    for tool in comparison.tools:
        if tool.macs is not None:
            differences = sum(reason.difference for reason in tool.reasons)
            assert tool.macs - comparison.macs == pytest.approx(differences, abs=1)
    return {tool.tool: tool for tool in comparison.tools}


def macs(comparison: Comparison) -> list[float | None]:
    return [tool.macs for tool in comparison.tools]


def told(tool: ToolCount) -> list[tuple[str, int, float, str]]:
    return [(reason.operator, reason.macs, reason.counted, reason.note) for reason in tool.reasons]


def test_fused_attention_is_what_four_tools_leave_out() -> None:
    found = compare(Fused(), (torch.randn(1, 8, 8),))
    assert list(by_tool(found)) == list(TOOLS)
    assert found.macs == 1536
    assert macs(found) == [512, 512, 512, 512, 1536]
    for tool in found.tools[:4]:
        assert told(tool)[0][:3] == ("scaled_dot_product_attention", 1024, 0)
        assert tool.ratio == pytest.approx(1 / 3)
    fvcore, _, aten, _, meta = found.tools
    assert fvcore.reasons[0].note == "unsupported: aten::scaled_dot_product_attention"
    assert fvcore.unsupported["aten::scaled_dot_product_attention"] == 1
    assert aten.reasons[0].note == "unsupported: _scaled_dot_product_flash_attention_for_cpu"
    assert meta.reasons == () and meta.ratio == 1
    assert str(fvcore.reasons[0]).startswith("scaled_dot_product_attention: 1.024 kMACs counted as 0 (unsupported")


def test_multihead_attention_takes_its_fast_path_in_tools() -> None:
    found = compare(SelfAttention(), (torch.randn(1, 4, 8),))
    tools = by_tool(found)
    assert found.macs == 1280
    assert tools["fvcore"].macs == tools["torch counter, CPU"].macs == tools["ptflops aten"].macs == 0
    assert told(tools["torch counter, CPU"]) == [
        ("multi_head_attention_forward", 1280, 0, "unsupported: _native_multi_head_attention")
    ]
    # Its own formula: scaling 32, projections 768 and 96 biases, heads 2 * (64 + 16 + 64),
    # projection 4 * 8 * 9.
    assert told(tools["ptflops pytorch"]) == [("multi_head_attention_forward", 1280, 1472, "")]
    assert tools["torch counter, meta"].ratio == 1


def test_convolution_of_a_derived_type_has_no_hook() -> None:
    found = compare(Causal(3, 4, 1), (torch.randn(1, 3, 2, 4, 4),))
    tools = by_tool(found)
    assert found.macs == 384
    assert told(tools["ptflops pytorch"]) == [("conv3d", 384, 0, "Conv3d subclass Causal not hooked")]
    assert tools["fvcore"].macs == tools["torch counter, CPU"].macs == 384 and tools["fvcore"].reasons == ()
    assert told(tools["ptflops aten"]) == [("convolution", 0, 128, "additions of biases")]


def test_einsum_is_told_from_the_product_beside_it() -> None:
    found = compare(Contraction(), (torch.randn(1, 4, 8),))
    tools = by_tool(found)
    assert found.macs == 256
    assert told(tools["ptflops pytorch"]) == [("einsum", 128, 0, "Contraction not hooked")]
    assert tools["ptflops aten"].ratio == tools["torch counter, CPU"].ratio == 1


def test_norms_and_biases_are_no_multiply_adds() -> None:
    found = compare(Normed(), (), {"x": torch.randn(1, 4, 8), "scale": torch.ones(8)})
    tools = by_tool(found)
    assert found.macs == 256
    assert told(tools["fvcore"]) == [("layer_norm", 0, 160, "")]  # 5 for each number
    assert set(told(tools["ptflops pytorch"])) == {("LayerNorm", 0, 32, ""), ("Linear", 0, 32, "additions of biases")}
    assert told(tools["ptflops aten"]) == [("addmm", 0, 32, "additions of biases")]
    assert str(tools["ptflops aten"].reasons[0]) == (
        "addmm: 32 counted that are no multiply-adds (additions of biases)"
    )


def test_a_tool_that_divides_by_the_batch_says_so() -> None:
    found = compare(nn.Sequential(nn.Linear(8, 4, bias=False)), (torch.randn(3, 8),))
    assert found.macs == 96
    tool = by_tool(found)["ptflops pytorch"]
    assert tool.macs == 32 and told(tool) == [("Linear", 0, -64, "divided by the batch of 3")]


def test_a_tool_that_fails_gives_its_error() -> None:
    tools = by_tool(compare(SelfAttention(keywords=True), (torch.randn(1, 4, 8),)))
    failed = tools["ptflops pytorch"]
    assert failed.macs is None and failed.ratio is None and failed.reasons == ()
    assert failed.error and "unpack" in failed.error and "\n" not in failed.error
    assert torch.matmul.__name__ == "matmul" and "wrapper" not in type(F.relu).__name__


def test_the_module_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Dropout(), nn.GELU()).train()
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    names = [sorted(vars(part)) for part in module.modules()]
    said: list[str] = []
    compare(module, (torch.ones(1, 3, 2, 4, 4),), progress=said.append)
    assert said == list(TOOLS)
    assert all(part.training for part in module.modules())
    assert [sorted(vars(part)) for part in module.modules()] == names
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    after = module.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), random)


def test_modules_without_weights_and_wrong_inputs_are_refused() -> None:
    with pytest.raises(
        NasError, match=r"^module '.*' or its inputs are on the meta device; allowed: tensors with numbers"
    ):
        compare(nn.Linear(2, 2, device="meta"), (torch.randn(1, 2),))
    with pytest.raises(NasError, match="Linear cannot run on inputs of"):
        compare(nn.Linear(2, 2), (torch.randn(1, 3),))


def test_without_the_other_counters_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "find_spec", lambda name: None if name == "ptflops" else name)
    with pytest.raises(NasError, match=r"^the comparison needs ptflops; allowed .*'video-nas\[compare\]'$"):
        compare(nn.Linear(2, 2), (torch.randn(1, 2),))


def test_modules_with_hooks_of_normalisation_are_copied() -> None:
    """Hooks leave a tensor with a history in the module: 3 * 4 * 4 of the layer, and for the
    spectral norm a product of 4 * 4 and one of 4, which other counters do not know.
    """
    for normalise, macs in ((nn.utils.weight_norm, 48), (nn.utils.spectral_norm, 48 + 16 + 4)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = nn.Sequential(normalise(nn.Linear(4, 4)))
        module(torch.randn(2, 4))
        found = compare(module, (torch.randn(3, 4),))
        assert all(tool.error is None for tool in found.tools)
        assert found.macs == macs and by_tool(found)["torch counter, meta"].macs == 48
        assert sum(reason.macs for reason in by_tool(found)["torch counter, meta"].reasons) == macs - 48


def test_a_module_that_cannot_be_copied_is_to_blame_itself() -> None:
    module = nn.Linear(4, 4)
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(NasError, match=r"^Linear cannot be copied for other tools \(TypeError: .*lock.*\); allowed"):
        compare(module, (torch.randn(3, 4),))
