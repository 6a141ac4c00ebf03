"""Checks of an operator, for the tests of whoever adds one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nas.architecture import LAYERS, Architecture, LayerConfig, Part, Shape, check_layer
from nas.models.network import build_part, part_inputs

MAP = Shape(3, 5, 7, 32)  # odd, so that windows and strides do not divide it
TOKENS = Shape(1, 1, 11, 32, grid=False)
CLASS_TOKENS = (Shape(3, 5, 7, 32, class_tokens="clip"), Shape(3, 5, 7, 32, class_tokens="frame"))


def example_parts(kind: type[LayerConfig]) -> Iterator[Part]:
    """A layer of a type, as `suited` makes it, on each kind of map that it may stand on: a grid,
    tokens of a tube stem, class tokens, and with stride 2 and another width.
    """
    maps = [MAP, *[TOKENS] * kind.tokens_allowed, *(CLASS_TOKENS if kind.class_tokens_allowed else ())]
    for shape in maps:
        yield Part("layer", kind.suited(shape), shape, shape)
    if kind.strides_allowed:
        output = MAP.strided((2, 2, 2), 48)
        yield Part("layer", kind.suited(output), MAP, output, (2, 2, 2))


def check_operator(kind: type[LayerConfig]) -> None:
    """Builds layers of a registered type and does with them what searches, profiles and exports do.

    On the maps of `example_parts`, and resized to single cells: a file keeps the config; the module
    gives the map that it should, contiguous; every parameter and the input get finite gradients;
    bfloat16 stays near float32; it is built on the meta device, comes to life from there by its
    state, and goes through `torch.export` for any batch.

    Raises:
        AssertionError: One of these is not so; the message says which.
        NasError: It cannot be built.
    """
    for part in example_parts(kind):
        config = part.config
        assert isinstance(config, LayerConfig)
        read = LAYERS.parse(config.model_dump(mode="json"))
        assert read == config, f"a file keeps {read} of {config}"
        _check_part(part)
    small = Shape(1, 1, 1, MAP.channels)
    _check_part(Part("layer", kind.suited(MAP).fitted(small), small, small))
    stages = [{"width": 32, "layers": [kind.suited(Shape(4, 8, 8, 32)).model_dump()]}]
    data = {"input": {"frames": 4, "size": 32}, "stem": {"op": "conv"}, "stages": stages}
    assert Architecture.parse(data).resized(2, 16).operators == {kind.op_name(): 1}


def _check_part(part: Part) -> None:
    assert isinstance(part.config, LayerConfig)
    check_layer(part.config, part.output, part.path)
    torch.manual_seed(0)
    module, inputs = build_part(part), part_inputs(part, torch.randn, batch=2)
    expected = (2, *part.output.stored, part.output.channels)
    leaves = {f"input {i}": x.requires_grad_() for i, x in enumerate(inputs)} | dict(module.named_parameters())
    y = module(*inputs)
    assert y.shape == expected, f"{part.input} gives {list(y.shape)}; expected {list(expected)}"
    assert y.is_contiguous(), f"the map that {part.input} gives is not contiguous"
    grads = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    for name, grad in zip(leaves, grads, strict=True):
        assert grad is not None and grad.isfinite().all(), f"{name} gets no gradient, or one that is not finite"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (module(*inputs).float() - y).norm() < 0.05 * y.norm(), f"bfloat16 differs by 5 % on {part.input}"
    with torch.device("meta"):
        empty = build_part(part)
        y = empty(*(x.to("meta") for x in inputs))
    assert y.shape == expected, f"on the meta device {part.input} gives {list(y.shape)}; expected {list(expected)}"
    again = empty.to_empty(device="cpu").eval()
    again.load_state_dict(module.eval().state_dict())
    with torch.no_grad():
        y = module(*inputs)
        assert torch.equal(again(*inputs), y), "from the meta device, its state does not bring all of it back"
        shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
        exported = torch.export.export(module, inputs, dynamic_shapes=shapes).module()
        assert torch.allclose(exported(*inputs), y, atol=1e-5), "what torch.export makes of it differs"
        given = tuple(x[[1, 0, 1]] for x in inputs)
        assert torch.allclose(exported(*given), y[[1, 0, 1]], atol=1e-5), (
            "what torch.export makes of it fixes the batch"
        )
