"""The architecture file: what it refuses and how it says so, shapes, resizing, canonical form,
reading and writing.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from nas.architecture import (
    LAYERS,
    T2D,
    Architecture,
    ArchitectureError,
    Shape,
    SparseTube,
    TubeStem,
    load,
)
from nas.errors import NasError


def document(**changes: Any) -> dict[str, Any]:
    """A small valid document: a 16x16 map of width 24 in stage 0, 8x8 of width 48 in stage 1."""
    base: dict[str, Any] = {
        "input": {"frames": 8, "size": 64},
        "num_classes": 5,
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [
            {"width": 24, "layers": [{"op": "t2d", "heads": 3, "window": [8, 8, 8]}]},
            {"width": 48, "downsample": {"op": "conv", "stride": [2, 2, 2]}, "layers": [{"op": "d2plus1d"}]},
        ],
    }
    return {**base, **changes}


def with_layer(layer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The small document with this layer first."""
    data = document(**changes)
    data["stages"][0]["layers"] = [layer]
    return data


def with_stage(number: int, **changes: Any) -> dict[str, Any]:
    data = document()
    data["stages"][number].update(changes)
    return data


def test_the_small_document_is_valid() -> None:
    architecture = Architecture.parse(document())
    assert architecture.stages[0].width == 24
    assert architecture.operators == {"t2d": 1, "d2plus1d": 1}


TUBE = {"kernel": [8, 8, 8], "stride": [8, 8, 8]}
TUBE_DOCUMENT = {
    "input": {"frames": 8, "size": 64},
    "stem": {"op": "tube", "tubes": [TUBE]},
    "stages": [{"width": 24, "layers": [{"op": "factorized", "variant": "joint", "heads": 3}]}],
}


def tube_document(layer: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {**copy.deepcopy(TUBE_DOCUMENT), **changes}
    if layer:
        data["stages"][0]["layers"] = [layer]
    return data


def token_document(
    class_tokens: str = "clip",
    layer: dict[str, Any] | None = None,
    head: dict[str, Any] | None = None,
    downsample: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A map of 8x4x4 tokens of width 24 behind class tokens."""
    layers = [layer or {"op": "factorized", "heads": 3}]
    stages: list[dict[str, Any]] = [{"width": 24, "layers": layers}]
    if downsample:
        stages.append({"width": 24, "downsample": downsample, "layers": layers})
    stem = {"op": "patch", "class_tokens": class_tokens}
    return document(stem=stem, stages=stages, head=head or {"op": "class_token"})


ABILITIES = ("strides_allowed", "tokens_allowed", "class_tokens_allowed")
HEADS, WINDOW = "stages.0.layers.0.heads", "stages.0.layers.0.window"

REFUSED: dict[str, tuple[Any, str, list[str]]] = {
    # what: document, path, what the message must hold (the value, what is allowed)
    "heads": (with_layer({"op": "t2d", "heads": 5}), HEADS, ["5", "width 24", "1, 2, 3, 4, 6, 8, 12, 24"]),
    "heads of channel shift": (
        with_layer({"op": "tps", "heads": 4, "shift": "channel"}),
        HEADS,
        ["4 leaves 6 channels per head", "up to 3 heads"],
    ),
    "odd heads of dot product": (
        with_layer({"op": "factorized", "variant": "dot_product", "heads": 3}),
        HEADS,
        ["3 cannot be halved", "even"],
    ),
    "window in time": (
        with_layer({"op": "t2d", "heads": 3, "window": [9, 8, 8]}),
        WINDOW,
        ["[9, 8, 8]", "up to [8, 16, 16]"],
    ),
    "window in space": (with_layer({"op": "tps", "heads": 3, "window": 17}), WINDOW, ["[17, 17]", "up to [16, 16]"]),
    "window of joint": (
        with_layer({"op": "factorized", "variant": "joint", "heads": 3, "window": 4}),
        WINDOW,
        ["[4, 4]", "'joint'", "null"],
    ),
    "tube larger than the map": (
        with_layer({"op": "sparse_tube", "heads": 3, "tubes": [{"kernel": [8, 17, 2], "stride": [1, 1, 1]}]}),
        "stages.0.layers.0.tubes.0.kernel",
        ["[8, 17, 2]", "8x16x16x24", "[8, 16, 16]"],
    ),
    "no tubes": (
        with_layer({"op": "sparse_tube", "heads": 3, "tubes": []}),
        "stages.0.layers.0.tubes",
        ["is empty", "at least one"],
    ),
    "temporal atoms": (
        with_layer({"op": "joint_filter", "temporal_atoms": 4}),
        "stages.0.layers.0.temporal_atoms",
        ["4", "1 to 3"],
    ),
    "spatial atoms": (
        with_layer({"op": "joint_filter", "spatial_atoms": 10}),
        "stages.0.layers.0.spatial_atoms",
        ["10", "1 to 9"],
    ),
    "even kernel": (with_layer({"op": "full3d", "kernel": 4}), "stages.0.layers.0.kernel", ["4 is even", "odd"]),
    "even kernel of the stem": (
        document(stem={"op": "conv", "kernel": [3, 8, 7]}),
        "stem.kernel.1",
        ["8 is even", "odd"],
    ),
    "unknown key of a layer": (
        with_layer({"op": "t2d", "heads": 3, "head": 3}),
        "stages.0.layers.0.head",
        ["unknown key", "heads, mlp_ratio, activation, norm_eps, variant, window, cpe"],
    ),
    "unknown key of the file": (document(stages_=[]), "stages_", ["unknown key", "stem, stages, head"]),
    "unknown key of a stage": (with_stage(0, depth=3), "stages.0.depth", ["unknown key", "width, downsample, layers"]),
    "unknown key of the input": (document(input={"fps": 25}), "input.fps", ["unknown key", "frames, size, channels"]),
    "unknown key of a tube": (
        with_layer({"op": "sparse_tube", "heads": 3, "tubes": [{**TUBE, "space_to_depth": [1, 1, 1]}]}),
        "stages.0.layers.0.tubes.0.space_to_depth",
        ["unknown key", "kernel, stride, offset"],
    ),
    "unknown operator": (
        with_layer({"op": "conv3d"}),
        "stages.0.layers.0.op",
        ["'conv3d' is unknown", ", ".join(LAYERS.names())],
    ),
    "layer without a place for a class token": (
        token_document(layer={"op": "t2d", "heads": 3}),
        "stages.0.layers.0.op",
        ["'t2d' has no place for a class token", "allowed: factorized"],
    ),
    "variant without a place for a class token": (
        token_document(layer={"op": "factorized", "heads": 4, "variant": "dot_product"}),
        "stages.0.layers.0.variant",
        ["'dot_product'", "per clip", "'divided', 'joint'"],
    ),
    "window beside a class token": (
        token_document(layer={"op": "factorized", "heads": 4, "window": 4}),
        WINDOW,
        ["[4, 4]", "allowed: null"],
    ),
    "variant without a place for class tokens of frames": (
        token_document("frame"),
        "stages.0.layers.0.variant",
        ["'divided'", "per frame", "'space'"],
    ),
    "mean over a class token": (token_document(head={"op": "mean"}), "head.op", ["'mean'", "'class_token'"]),
    "head without its class token": (
        document(head={"op": "class_token"}),
        "head.op",
        ["'class_token' finds none", "'mean', 'attention'"],
    ),
    "head on class tokens of frames": (
        token_document("frame", {"op": "factorized", "heads": 3, "variant": "space"}, {"op": "mean"}),
        "head.op",
        ["'mean'", "'frame_pool'"],
    ),
    "pooling frames behind a class token": (
        token_document(downsample={"op": "frame_pool"}),
        "stages.1.downsample",
        ["'frame_pool'", "single frames"],
    ),
    "pooling frames to another width": (
        with_stage(1, downsample={"op": "frame_pool"}),
        "stages.1.width",
        ["48", "incoming width 24", "allowed: 24"],
    ),
    "downsample of a class token": (
        token_document(downsample={"op": "merge", "stride": [1, 2, 2]}),
        "stages.1.downsample",
        ["'merge' needs a plain grid", "class token"],
    ),
    "gate without a tube stem": (
        with_stage(1, layers=[{"op": "factorized", "heads": 4, "stem_gate": True}]),
        "stages.1.layers.0.stem_gate",
        ["true adds the tokens of a tube stem", "allowed: false"],
    ),
    "text for a number": (document(num_classes="5"), "num_classes", ["'5'", "allowed: integer"]),
    "true for a number": (document(input={"frames": True}), "input.frames", ["True", "allowed: integer"]),
    "fraction for a number": (document(input={"frames": 8.0}), "input.frames", ["8.0", "allowed: integer"]),
    "one side of three": (
        document(input={"size": [1, 2, 3]}),
        "input.size",
        ["[1, 2, 3]", "allowed: one number, or two"],
    ),
    "two axes of three": (
        document(stem={"op": "conv", "stride": [1, 2]}),
        "stem.stride",
        ["[1, 2] is too short", "one number for each axis"],
    ),
    "four axes of three": (
        document(stem={"op": "conv", "stride": [1, 2, 2, 2]}),
        "stem.stride",
        ["too long", "one number for each axis"],
    ),
    "stem that is a word": (document(stem="conv"), "stem", ["'conv'", "allowed: a mapping"]),
    "long value": (document(num_classes="x" * 500), "num_classes", ["'xxxxx", "...", "allowed: integer"]),
    "shared kernel of several widths": (
        tube_document(stem={"op": "tube", "interpolated": True, "tubes": [{**TUBE, "space_to_depth": [1, 1, 2]}]}),
        "stem.interpolated",
        ["true", "without space_to_depth"],
    ),
    "convolutional head on tokens": (
        tube_document(head={"op": "conv", "inner_width": 8}),
        "head.op",
        ["'conv' needs a grid", "'mean', 'attention'"],
    ),
    "mean of each frame on tokens": (
        tube_document(head={"op": "mean", "norm": "frame"}),
        "head.norm",
        ["'frame'", "'before', 'after', 'none'"],
    ),
    "unknown stem": (document(stem={"op": "pool"}), "stem.op", ["'pool' is unknown", "conv, patch, tube"]),
    "unknown downsample": (
        with_stage(1, downsample={"op": "max", "stride": [1, 2, 2]}),
        "stages.1.downsample.op",
        ["'max' is unknown", "conv, merge, in_layer, frame_pool"],
    ),
    "missing operator": (with_layer({"heads": 3}), "stages.0.layers.0.op", ["is missing", "t2d"]),
    "missing heads": (with_layer({"op": "tps"}), HEADS, ["is missing", "required"]),
    "missing stem": ({key: v for key, v in document().items() if key != "stem"}, "stem", ["is missing", "required"]),
    "no stages": (document(stages=[]), "stages", ["is empty", "at least one"]),
    "no layers": (with_stage(0, layers=[]), "stages.0.layers", ["is empty", "at least one"]),
    "unknown variant": (
        with_layer({"op": "t2d", "heads": 3, "variant": "4d"}),
        "stages.0.layers.0.variant",
        ["'4d'", "'shared'"],
    ),
    "width without downsample": (
        with_stage(1, downsample=None),
        "stages.1.width",
        ["48", "incoming width 24", "downsample"],
    ),
    "in_layer before attention": (
        with_stage(1, downsample={"op": "in_layer", "stride": [1, 2, 2]}, layers=[{"op": "t2d", "heads": 3}]),
        "stages.1.layers.0.op",
        ["'t2d'", "d2plus1d, joint_filter, full3d"],
    ),
    "patch size": (document(stem={"op": "patch", "size": [1, 16, 12]}), "stem.size", ["[1, 16, 12]", "width 64", "64"]),
    "patch of frames": (document(stem={"op": "patch", "size": [3, 16, 16]}), "stem.size", ["[3, 16, 16]", "frames 8"]),
    "tube of the stem": (
        tube_document(stem={"op": "tube"}),
        "stem.tubes.1.kernel",
        ["[16, 4, 4]", "8x64x64x3", "[8, 64, 64]"],
    ),
    "space to depth of the width": (
        tube_document(stem={"op": "tube", "tubes": [{**TUBE, "stride": [5, 5, 5], "space_to_depth": [5, 1, 1]}]}),
        "stem.tubes.0.space_to_depth",
        ["[5, 1, 1]", "width 24"],
    ),
    "space to depth of the stride": (
        tube_document(stem={"op": "tube", "tubes": [{**TUBE, "space_to_depth": [3, 1, 1]}]}),
        "stem.tubes.0.space_to_depth",
        ["[3, 1, 1]", "stride [8, 8, 8]"],
    ),
    "grid layer on tokens": (
        tube_document({"op": "t2d", "heads": 3}),
        "stages.0.layers.0.op",
        ["'t2d' needs a grid", "allowed: factorized"],
    ),
    "grid variant on tokens": (
        tube_document({"op": "factorized", "heads": 3}),
        "stages.0.layers.0.variant",
        ["'divided' needs a grid", "'joint'"],
    ),
    "downsample of tokens": (
        tube_document(
            stages=[{"width": 24, "downsample": {"op": "conv", "stride": [1, 2, 2]}, "layers": [{"op": "full3d"}]}]
        ),
        "stages.0.downsample",
        ["'conv' needs a plain grid", "null"],
    ),
    "width zero": (with_stage(0, width=0), "stages.0.width", ["0", "greater than 0"]),
    "dropout one": (document(head={"op": "mean", "dropout": 1.0}), "head.dropout", ["1.0", "less than 1"]),
    "infinite ratio": (
        with_layer({"op": "t2d", "heads": 3, "mlp_ratio": float("inf")}),
        "stages.0.layers.0.mlp_ratio",
        ["inf", "finite"],
    ),
    "not a mapping": ([1, 2], "architecture", ["[1, 2]"]),
    "empty file": (None, "architecture", ["None"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_name_the_field_its_value_and_what_is_allowed(what: str) -> None:
    data, path, parts = REFUSED[what]
    with pytest.raises(ArchitectureError) as refused:
        Architecture.parse(data)
    message = str(refused.value)
    assert refused.value.path == path
    assert message.startswith(f"{path}: ")
    assert "allowed" in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_an_architecture_error_is_a_user_error_and_survives_pickling() -> None:
    error = ArchitectureError("stem.size", "[3] is wrong; allowed: [4]")
    assert isinstance(error, NasError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, str(again)) == ("stem.size", "stem.size: [3] is wrong; allowed: [4]")


def test_an_architecture_is_pickled_as_a_document() -> None:
    """Classes of operators from outside the package are known only to who has imported them."""
    architecture = Architecture.parse(document())
    written = pickle.dumps(architecture)
    assert pickle.loads(written) == architecture and b"nas.architecture.layers" not in written


def test_operators_that_take_strides_and_tokens() -> None:
    able = {name: [kind.op_name() for kind in LAYERS.types() if getattr(kind, name)] for name in ABILITIES}
    assert able["strides_allowed"] == ["d2plus1d", "joint_filter", "full3d", "r2plus1d", "x3d", "e3d"]
    assert able["tokens_allowed"] == able["class_tokens_allowed"] == ["factorized"]


# ------------------------------------------------------------------------------------------- shapes


def test_parts_list_the_network_with_its_shapes() -> None:
    parts = Architecture.parse(document()).parts()
    assert [(part.path, str(part.input), str(part.output)) for part in parts] == [
        ("stem", "8x64x64x3", "8x16x16x24"),
        ("stages.0.layers.0", "8x16x16x24", "8x16x16x24"),
        ("stages.1.downsample", "8x16x16x24", "4x8x8x48"),
        ("stages.1.layers.0", "4x8x8x48", "4x8x8x48"),
        ("head", "4x8x8x48", "1x1x1x5"),
    ]


def test_in_layer_downsample_gives_its_stride_to_the_first_layer_only() -> None:
    layers = [{"op": "full3d"}, {"op": "full3d"}]
    data = with_stage(1, downsample={"op": "in_layer", "stride": [1, 3, 3]}, layers=layers)
    first, second = Architecture.parse(data).parts()[2:4]
    assert (str(first.input), str(first.output), first.stride) == ("8x16x16x24", "8x6x6x48", (1, 3, 3))  # ceil(16 / 3)
    assert (str(second.input), second.stride) == ("8x6x6x48", (1, 1, 1))


def test_tubevit_has_539_tokens_at_32_frames_of_224() -> None:
    data = tube_document(input={"frames": 32, "size": 224}, stem={"op": "tube"})
    architecture = Architecture.parse(data)
    assert isinstance(architecture.stem, TubeStem)
    clip = architecture.input.shape
    assert [tube.tokens(clip) for tube in architecture.stem.tubes] == [98, 147, 98, 196]
    assert architecture.parts()[0].output == Shape(1, 1, 539, 24, grid=False)
    assert architecture.resized(frames=64).parts()[0].output.tokens == 1176


def test_patch_stem_shape() -> None:
    data = document(stem={"op": "patch", "size": [2, 16, 16]}, stages=[{"width": 24, "layers": [{"op": "full3d"}]}])
    assert str(Architecture.parse(data).parts()[0].output) == "4x4x4x24"


# ----------------------------------------------------------------------------------------- resizing


def test_resized_clips_windows_to_the_smaller_maps() -> None:
    small = Architecture.parse(document()).resized(frames=4, size=16)
    layer = small.stages[0].layers[0]
    assert small.input.shape == Shape(4, 16, 16, 3)
    assert isinstance(layer, T2D)
    assert layer.window == (4, 4, 4)
    assert small.num_classes == 5


def test_resized_clips_tubes_and_their_offsets() -> None:
    tubes = [{"kernel": [4, 2, 2], "stride": [4, 2, 2], "offset": [4, 8, 8]}]
    layer = Architecture.parse(with_layer({"op": "sparse_tube", "heads": 3, "tubes": tubes})).resized(2, 16)
    fitted = layer.stages[0].layers[0]
    assert isinstance(fitted, SparseTube)
    assert (fitted.tubes[0].kernel, fitted.tubes[0].offset) == ((2, 2, 2), (0, 2, 2))
    assert fitted.tubes[0].tokens(Shape(2, 4, 4, 24)) == 1


def test_resized_tube_stem_keeps_every_tube() -> None:
    data = tube_document(input={"frames": 32, "size": 224}, stem={"op": "tube"})
    small = Architecture.parse(data).resized(frames=8, size=64)
    assert isinstance(small.stem, TubeStem)
    assert [tube.kernel for tube in small.stem.tubes] == [(8, 8, 8), (8, 4, 4), (4, 12, 12), (1, 16, 16)]
    # 1x2x2, 1x2x2, 1x2x2 (48 - 12 at offset 16 is 36: 2 places) and 1x4x4 tokens
    assert small.parts()[0].output.tokens == 4 + 4 + 4 + 16


def test_resized_to_an_image_keeps_the_tubes_of_images() -> None:
    """Tube 4 alone: 14 x 14 tokens of 224, as the video network makes them of an image."""
    image = Architecture.parse(tube_document(input={"frames": 32, "size": 224}, stem={"op": "tube"})).resized(frames=1)
    assert isinstance(image.stem, TubeStem)
    assert [tube.kernel for tube in image.stem.tubes] == [(1, 16, 16)]
    assert image.parts()[0].output.tokens == 196


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"frames": 0}, "input.frames: 0 is not allowed; allowed: greater than 0"),
        ({"frames": -1}, "input.frames: -1 is not allowed; allowed: greater than 0"),
        ({"frames": "8"}, "input.frames: '8' is not allowed; allowed: integer"),
        ({"frames": 1.5}, "input.frames: 1.5 is not allowed; allowed: integer"),
        ({"size": 0}, "input.size.0: 0 is not allowed; allowed: greater than 0"),
        ({"size": (0, 224)}, "input.size.0: 0 is not allowed; allowed: greater than 0"),
        *(
            ({"size": size}, f"input.size: {size!r} is not allowed; allowed: one number, or two for height and width")
            for size in ((224, 224, 3), "224", 224.0, (224,))
        ),
        ({"num_classes": 0}, "num_classes: 0 is not allowed; allowed: greater than 0"),
        ({"num_classes": -3}, "num_classes: -3 is not allowed; allowed: greater than 0"),
        ({"num_classes": "x"}, "num_classes: 'x' is not allowed; allowed: integer"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_wrong_overrides_are_refused_by_name(asked: dict[str, Any], message: str) -> None:
    for data in (document(), tube_document()):
        with pytest.raises(ArchitectureError) as caught:
            Architecture.parse(data).resized(**asked)
        assert str(caught.value) == message


def test_a_wide_layer_does_not_list_its_divisors() -> None:
    stages = [{"width": 999_983, "layers": [{"op": "t2d", "heads": 2}]}]
    with pytest.raises(ArchitectureError, match="2 does not divide the width 999983; allowed: divisors of 999983"):
        Architecture.parse({"stem": {"op": "conv"}, "stages": stages})


def test_resized_to_the_same_input_changes_nothing_and_num_classes_is_replaced() -> None:
    architecture = Architecture.parse(document())
    assert architecture.resized() == architecture
    assert architecture.resized(8, (64, 64)) == architecture
    assert architecture.resized(num_classes=7).num_classes == 7


def test_resized_refuses_what_the_stem_cannot_take() -> None:
    data = document(stem={"op": "patch", "size": [2, 16, 16]}, stages=[{"width": 24, "layers": [{"op": "full3d"}]}])
    with pytest.raises(ArchitectureError, match=r"stem.size: \[2, 16, 16\] does not divide the input's height 40"):
        Architecture.parse(data).resized(size=40)


# ----------------------------------------------------------------------------------- canonical form


def test_canonical_form_ignores_name_and_written_defaults_but_no_value() -> None:
    architecture = Architecture.parse(document())
    written = {"head": {"op": "mean", "norm": "before"}, "input": {"frames": 8, "size": [64, 64]}}
    same = Architecture.parse(document(name="other", **written))
    assert same.canonical() == architecture.canonical()
    assert same.hash == architecture.hash
    assert len(architecture.hash) == 12
    for other in (
        document(num_classes=6),
        document(input={"frames": 9, "size": 64}),
        document(head={"op": "attention"}),
        with_stage(1, layers=[{"op": "d2plus1d", "modules": 4}]),
        with_stage(1, layers=[{"op": "d2plus1d"}, {"op": "d2plus1d"}]),
    ):
        assert Architecture.parse(other).hash != architecture.hash


def test_architectures_are_hashable_and_frozen() -> None:
    architecture = Architecture.parse(document())
    assert len({architecture, Architecture.parse(document())}) == 1
    with pytest.raises(ValueError, match="frozen"):
        architecture.num_classes = 3


# ------------------------------------------------------------------------------ reading and writing


@pytest.mark.parametrize("data", [document(name="small"), tube_document()], ids=["grid", "tube"])
def test_saved_architectures_load_as_they_were(data: dict[str, Any], tmp_path: Path) -> None:
    architecture = Architecture.parse(data)
    architecture.save(tmp_path / "a.yaml")
    assert load(tmp_path / "a.yaml") == architecture
    assert Architecture.parse(architecture.document()) == architecture


def test_a_python_tag_in_a_file_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.yaml", tmp_path / "proof"
    path.write_text(f"stem: !!python/object/apply:os.system ['touch {proof}']\n")
    with pytest.raises(NasError, match="is not YAML"):
        load(path)
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"stem: [1, 2", b"name: 2020-13-45", b"num_classes: " + b"9" * 5000])
def test_a_file_that_is_not_yaml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(NasError, match=r"architecture '.*broken.yaml' is not YAML"):
        load(path)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(NasError, match="architecture 'no_such_network' is neither a file nor a known name; allowed"):
        load("no_such_network")


def test_a_file_that_is_no_architecture_is_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("secret " * 1000)
    with pytest.raises(ArchitectureError) as caught:
        load(path)
    assert len(str(caught.value)) < 150 and str(caught.value).endswith("is not allowed; allowed: a mapping")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.yaml").touch()
    monkeypatch.setattr("nas.documents.os.open", denied)
    with pytest.raises(NasError, match=r"mine.yaml' cannot be read \(Permission denied\); allowed: a readable file"):
        load(tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", [None, 5, "", "x" * 5000, "a\0b", ["vov3d_l"]])
def test_what_no_file_can_be_called_is_refused(name: Any) -> None:
    with pytest.raises(NasError, match="is neither a file nor a known name; allowed") as caught:
        load(name)
    assert len(str(caught.value)) < 1000


def test_networks_that_take_other_clips() -> None:
    """Convolutions of maps of any size; then a mean takes any clip, a convolutional head larger
    ones.
    """
    layers = [{"op": "d2plus1d"}]
    conv = {"stem": {"op": "conv"}, "stages": [{"width": 24, "layers": layers}]}
    for changes, expected in (
        ({}, (True, False)),
        ({"head": {"op": "conv", "inner_width": 8}}, (False, True)),
        ({"stem": {"op": "patch"}}, (False, False)),
        ({"stages": [{"width": 24, "layers": [*layers, {"op": "t2d", "heads": 2}]}]}, (False, False)),
        ({"stages": [{"width": 24, "downsample": {"op": "frame_pool"}, "layers": layers}]}, (False, False)),
    ):
        architecture = Architecture.parse(conv | changes)
        assert (architecture.takes_any_clip, architecture.takes_larger_clips) == expected


def test_a_copy_finds_its_own_parts() -> None:
    network = load("r3d_18")
    assert network.parts()[-1].output.channels == 400
    assert network.model_copy(update={"num_classes": 5}).parts()[-1].output.channels == 5


@pytest.mark.parametrize("hole", [{"choice": [1, 2]}, {"range": [1, 3, 1]}])
def test_a_hole_in_an_architecture_is_named(hole: dict[str, Any]) -> None:
    stage = {"width": hole, "layers": [{"op": "full3d"}]}
    with pytest.raises(ArchitectureError, match=r"^stages.0.width: '(choice|range)' is of a search space"):
        Architecture.parse({"stem": {"op": "conv"}, "stages": [stage]})


def test_a_repeat_in_an_architecture_is_named() -> None:
    repeat = {"repeat": 3, "layer": {"op": "full3d"}}
    for layers, path in ((repeat, "stages.0.layers"), ([repeat], "stages.0.layers.0")):
        with pytest.raises(ArchitectureError, match=f"^{path}: 'repeat' is of a search space; allowed: one value"):
            Architecture.parse({"stem": {"op": "conv"}, "stages": [{"width": 8, "layers": layers}]})
