from copy import deepcopy

import torch
from torch import Tensor, nn

import nas
from nas.architecture import Architecture
from nas.training.recompute import recompute

ATTENTION = {
    "input": {"frames": 4, "size": 16},
    "num_classes": 3,
    "stem": {"op": "patch", "size": [1, 4, 4]},
    "stages": [{"width": 16, "layers": [{"op": "t2d", "heads": 2}, {"op": "full3d"}, {"op": "t2d", "heads": 2}]}],
    "head": {"op": "mean", "dropout": 0.5},
}


def step(model: nn.Module) -> tuple[Tensor, Tensor, int]:
    """The gradients of a step and its buffers, and how many bytes autograd kept."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)  # of the clips and the dropout
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(model(clips), torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return gradients, torch.cat([b.flatten().double() for b in model.buffers()]), sum(kept.values())


def test_gradients_are_the_same_and_less_is_kept() -> None:
    """Of the parts all are run again but the convolution with its batch normalisation."""
    torch.manual_seed(0)
    model = nas.build(Architecture.parse(ATTENTION))
    lean = deepcopy(model)
    again = recompute(lean)
    assert again == [name for name in model.parts if name != "stages_0_layers_1"]
    (expected, statistics, kept), (found, lean_statistics, lean_kept) = step(model), step(lean)
    assert torch.equal(found, expected) and torch.equal(lean_statistics, statistics)
    assert lean_kept < 0.6 * kept
    assert torch.equal(step(deepcopy(lean))[0], expected)  # a copy runs its own parts


def test_names_of_the_state_stay_and_other_modules_too() -> None:
    model = nas.build(Architecture.parse(ATTENTION))
    names = list(model.state_dict())
    recompute(model)
    assert list(model.state_dict()) == names and recompute(nn.Linear(1, 1)) == []
