"""Whole populations cost what their candidates cost one by one."""

from __future__ import annotations

import numpy as np
import pytest

from nas.profiler.computed.cost import cost
from nas.profiler.computed.population import Population
from nas.space import SearchSpace

INFERENCE = ("macs", "params", "elementwise", "bytes_moved", "inference_bytes", "parameter_bytes")
TRAINING = ("activation_bytes", "step_bytes")

# Stages, layers and repeats inside choices and lists, whose labels look like the numbers of stages
# and layers.
AWKWARD = {
    "input": {"frames": 4, "size": 32},
    "num_classes": 5,
    "stem": {"op": "conv", "stride": [1, 2, 2]},
    "stages": {
        "choice": [
            [{"width": 8, "layers": [{"repeat": {"choice": [0, 2]}, "layer": {"op": "full3d"}}, {"op": "r2plus1d"}]}],
            [
                {"width": {"choice": [8, 16]}, "layers": {"choice": [[{"op": "full3d"}], [{"op": "full3d"}] * 3]}},
                {
                    "width": {"choice": [16, 24]},
                    "downsample": {"op": "conv", "stride": {"choice": [[1, 1, 1], [1, 2, 2]]}},
                    "layers": [
                        {"repeat": 2, "layer": {"op": "full3d"}},
                        {"op": "d2plus1d", "modules": {"choice": [1, 3]}},
                    ],
                },
            ],
        ]
    },
    "head": {"choice": [{"op": "mean"}, {"op": "attention", "dropout": 0}]},
}


def compare(space: SearchSpace, count: int) -> None:
    rng = np.random.default_rng(0)
    candidates = [space.sample_params(rng) for _ in range(count)]
    population = Population(space)
    codes = population.codes(candidates)
    first = population.cost(codes[:, : count // 2])
    priced = population.cost(codes, training=True)
    for i, params in enumerate(candidates):
        assert population.params(codes[:, i]) == params
        figures = cost(space.decode(params))
        assert [priced[name][i] for name in (*INFERENCE, *TRAINING)] == [
            getattr(figures, name) for name in (*INFERENCE, *TRAINING)
        ]
        assert i >= count // 2 or all(first[name][i] == priced[name][i] for name in INFERENCE)


@pytest.mark.parametrize(("name", "count"), [("tiny", 60), ("hybrid", 12), ("conv", 8), ("vit", 20), ("swin", 6)])
def test_a_population_of_a_space_costs_what_its_candidates_do(name: str, count: int) -> None:
    compare(SearchSpace.load(name), count)


def test_labels_that_look_like_numbers_of_stages_and_layers_mislead_nobody() -> None:
    compare(SearchSpace.from_document(AWKWARD, "awkward"), 60)
