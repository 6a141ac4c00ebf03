"""Twenty small networks that between them have every stem, layer, downsampling and head."""

from __future__ import annotations

import os
from typing import Any

import torch

from nas.architecture import Architecture
from nas.data.preprocessing import Preprocessing
from nas.models.network import Network, build
from nas.trained.folder import Figure, ModelRecord, Provenance, TrainedModel

SAMPLES = int(os.environ.get("NAS_TEST_SAMPLES", "2"))  # networks that tests export, up to twenty
CONV = {"op": "conv", "kernel": [3, 5, 5], "stride": [1, 4, 4]}
PATCH = {"op": "patch", "size": [2, 8, 8]}
TUBES = {
    "op": "tube",
    "tubes": [
        {"kernel": [2, 4, 4], "stride": [2, 8, 8], "space_to_depth": [2, 1, 1]},
        {"kernel": [1, 8, 8], "stride": [4, 8, 8]},
    ],
}
LAYER_TUBES = [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}, {"kernel": [3, 1, 1], "stride": [3, 2, 2]}]


def stage(width: int, *layers: dict[str, Any], **downsample: Any) -> dict[str, Any]:
    return {"width": width, "layers": list(layers), "downsample": downsample or None}


def layer(op: str, **options: Any) -> dict[str, Any]:
    return {"op": op, **options}


def document(stem: dict[str, Any], *stages: dict[str, Any], **head: Any) -> dict[str, Any]:
    return {
        "input": {"frames": 4, "size": 32},
        "num_classes": 5,
        "stem": stem,
        "stages": list(stages),
        "head": head or {"op": "mean"},
    }


IN_LAYER: dict[str, Any] = {"op": "in_layer", "stride": [2, 2, 2]}
MERGE: dict[str, Any] = {"op": "merge", "stride": [1, 2, 2]}
JOINT = layer("factorized", variant="joint", heads=2)
DOCUMENTS: dict[str, dict[str, Any]] = {
    "tubes": document(
        TUBES, stage(16, JOINT, layer("factorized", variant="joint", heads=4, stem_gate=True)), op="attention"
    ),
    "filters": document(
        {**CONV, "temporal_kernel": 3, "norm": "batch"},
        stage(8, layer("joint_filter", temporal_atoms=2, spatial_atoms=4)),
        stage(16, layer("joint_filter", execution="factored", temporal_kernel=5), **IN_LAYER),
        op="conv",
        inner_width=24,
        width=32,
    ),
    "hybrid": document(
        CONV,
        stage(16, layer("d2plus1d", modules=2), layer("tps", heads=2, window=[4, 4], shift="patch")),
        stage(32, layer("sparse_tube", heads=2, tubes=LAYER_TUBES), layer("t2d", heads=2, window=[2, 2, 2]), **MERGE),
    ),
    "vivit_2": document(
        {**PATCH, "class_tokens": "frame", "position": "spatial"},
        stage(16, layer("factorized", variant="space", heads=2)),
        stage(16, JOINT, op="frame_pool", class_token=True),
        op="class_token",
    ),
    "t2d": document(
        CONV,
        stage(
            16,
            layer("t2d", heads=2, variant="separate", cpe="3d"),
            layer("t2d", heads=2, variant="fused", window=[3, 3, 3]),
        ),
    ),
    "t2d_baselines": document(
        CONV,
        stage(16, *(layer("t2d", heads=2, variant=variant, window=[2, 4, 4]) for variant in ("2d", "2d+1d", "3d"))),
    ),
    "tps": document(
        CONV,
        stage(
            16,
            layer("tps", heads=2, window=[4, 4], shift="channel"),
            layer("tps", heads=2, window=[4, 4], shift="patch", cyclic=True, bias_index="released"),
        ),
        stage(32, layer("tps", heads=4, window=[3, 3], shift="patch", pattern="2x2_long", cyclic=True), **MERGE),
    ),
    "channels": document(
        CONV,
        stage(16, layer("channel_attention", heads=2, cpe="2d"), layer("channel_attention", heads=4, scale="head_dim")),
        op="mean",
        norm="frame",
    ),
    "factorized": document(
        CONV,
        stage(
            16,
            layer("factorized", heads=2, variant="divided"),
            layer("factorized", heads=2, variant="self_attention", window=[3, 3]),
            layer("factorized", heads=4, variant="dot_product", window=[4, 4], activation="quick_gelu"),
        ),
        op="mean",
        norm="after",
    ),
    "timesformer": document(
        {**PATCH, "size": [1, 8, 8], "class_tokens": "clip"},
        stage(16, *[layer("factorized", heads=2)] * 2),
        op="class_token",
    ),
    "vivit_1": document({**PATCH, "position": "joint", "norm": True}, stage(16, JOINT, JOINT), op="attention"),
    "vivit_2_means": document(
        PATCH, stage(16, layer("t2d", heads=2, variant="2d")), stage(16, JOINT, op="frame_pool"), op="mean", norm="none"
    ),
    "tubes_in_layers": document(CONV, stage(16, *[layer("sparse_tube", heads=2, tubes=LAYER_TUBES)] * 2)),
    "interpolated_tubes": document(
        {
            "op": "tube",
            "interpolated": True,
            "tubes": [
                {"kernel": [2, 4, 4], "stride": [2, 8, 8], "offset": [0, 2, 2]},
                {"kernel": [1, 8, 8], "stride": [2, 8, 8]},
            ],
        },
        stage(16, JOINT, layer("factorized", heads=2, variant="joint", activation="gelu_tanh")),
    ),
    "vov3d": document(
        {**CONV, "norm": "batch"},
        stage(8, layer("d2plus1d", modules=3)),
        stage(16, layer("d2plus1d", modules=2, expansion=3.0), **IN_LAYER),
        op="conv",
        inner_width=16,
        width=24,
    ),
    "r3d": document(
        {**CONV, "norm": "batch"},
        stage(8, layer("full3d")),
        stage(16, layer("full3d", kernel=5), op="conv", stride=[2, 3, 3]),
    ),
    "r2plus1d": document(
        {**CONV, "inner_width": 6, "temporal_kernel": 3, "norm": "batch"},
        stage(8, layer("r2plus1d")),
        stage(16, layer("r2plus1d"), **IN_LAYER),
    ),
    "x3d": document(
        {**CONV, "norm": "batch", "temporal_kernel": 5},
        stage(8, layer("x3d"), layer("x3d", excite=False)),
        stage(16, layer("x3d"), **{**IN_LAYER, "stride": [1, 2, 2]}),
        op="conv",
        inner_width=16,
        width=24,
    ),
    "similarity": document(CONV, stage(16, layer("full3d"), layer("t2d", heads=2)), op="similarity", dimension=8),
    "mixed": document(
        CONV,
        stage(8, layer("joint_filter"), layer("channel_attention", heads=2)),
        stage(16, layer("e3d"), layer("factorized", heads=2, variant="dot_product"), **IN_LAYER),
        stage(32, layer("r2plus1d"), layer("tps", heads=2, window=[2, 2], shift="patch"), op="conv", stride=[1, 2, 2]),
    ),
}


def architecture(name: str) -> Architecture:
    return Architecture.parse({"name": name, **DOCUMENTS[name]})


def network(name: str) -> Network:
    """The network in evaluation mode, its weights moved so that no zero or one of the
    initialisation hides a term, and running statistics that are not those of the initialisation.
    """
    torch.manual_seed(0)
    made = build(architecture(name))
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.05 * torch.randn_like(value))
        made.train()(torch.randn(4, 3, 4, 32, 32))
    return made.eval()


def model(name: str) -> TrainedModel:
    """The network with classes, preprocessing, figures and provenance."""
    record = ModelRecord(
        ("sit", "stand", "walk", "run", "fall"),
        Preprocessing.of_input(4, (32, 32)),
        {"validation accuracy": Figure(0.75, 48)},
        Provenance(run="hybrid-1", trial=7, data="clips.csv", epochs=12),
    )
    return TrainedModel(network(name), record, name)
