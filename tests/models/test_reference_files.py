"""Every reference file: full size on the meta device; cut to its different layers and to small
clips, for real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas.architecture import Architecture, ArchitectureError, PatchStem, load
from nas.models.network import Network, build
from nas.resources import resource_names

NAMES = resource_names("search_spaces/reference")


def reduced(name: str) -> Architecture:
    """The file at up to 4 frames of 64x64 (32x32 where all is convolution) and 7 classes, every
    stage cut to its different layers.

    Layers of equal configuration, shapes and stride are one: the first of a stage that carries a
    stride and a like one behind it are two.
    """
    architecture = load(name)
    size = 32 if architecture.convolutional else 64
    architecture = architecture.resized(min(4, architecture.input.frames), size, num_classes=7)
    layers: list[dict[object, object]] = [{} for _ in architecture.stages]
    for part in architecture.parts():
        match part.path.split("."):
            case ["stages", stage, "layers", _]:
                layers[int(stage)].setdefault(replace(part, path=""), part.config)
    stages = [
        stage.model_copy(update={"layers": tuple(kept.values())})
        for stage, kept in zip(architecture.stages, layers, strict=True)
    ]
    return Architecture.parse(architecture.model_copy(update={"stages": tuple(stages)}).model_dump())


# Files that differ in depth or in the size of the clip alone are the same when reduced.
REDUCED = {architecture.hash: architecture for architecture in map(reduced, reversed(NAMES))}


def structure(architecture: Architecture) -> tuple[object, ...]:
    """What a tracer sees of a network: its different kinds of parts, whatever their widths."""
    options = ("op", "variant", "shift", "cyclic", "scale", "cpe", "execution", "class_token", "class_tokens", "norm")
    return tuple(
        dict.fromkeys(
            (*(getattr(part.config, option, None) for option in options), part.stride) for part in architecture.parts()
        )
    )


# Of files with the same kinds of parts one is compiled and exported, which takes seconds of Python.
STRUCTURES = {structure(architecture): architecture for architecture in REDUCED.values()}
every_file = pytest.mark.parametrize("name", NAMES)
every_structure = pytest.mark.parametrize(
    "architecture", STRUCTURES.values(), ids=lambda architecture: architecture.name
)
every_reduced = pytest.mark.parametrize("architecture", REDUCED.values(), ids=lambda architecture: architecture.name)


def network_of(architecture: Architecture, seed: int = 0) -> Network:
    """Without dropout, its parameters moved so that no zero or one of the initialisation hides a
    term.
    """
    torch.manual_seed(seed)
    network = build(architecture)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def clips_of(architecture: Architecture, count: int = 2, device: str = "cpu") -> Tensor:
    generator = torch.Generator(device).manual_seed(1) if device == "cpu" else None
    return torch.randn(count, 3, *architecture.input.shape.extent, device=device, generator=generator)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Compiled graphs of other tests count towards dynamo's limit."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@every_file
def test_full_size_runs_on_the_meta_device(name: str) -> None:
    architecture = load(name)
    assert architecture.name == name
    network = build(architecture, device="meta").eval()
    classes = 1000 if name == "davit_t" else 174 if name.startswith("e3d") else 400
    assert network(clips_of(architecture, 1, "meta")).shape == (1, classes)


@every_structure
@pytest.mark.usefixtures("fresh_compiler")
def test_it_exports(architecture: Architecture) -> None:
    """For any number of clips."""
    clips, network = clips_of(architecture, 2, "meta"), build(architecture, device="meta").eval()
    exported = torch.export.export(network, (clips,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for count in (1, 2, 5):
        assert exported(clips_of(architecture, count, "meta")).shape == (count, 7)


@every_reduced
def test_it_trains_and_autocasts(architecture: Architecture) -> None:
    network, labels = network_of(architecture), torch.tensor([0, 1])
    for autocast in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = network(clips_of(architecture))
        assert logits.shape == (2, 7) and logits.isfinite().all()
        F.cross_entropy(logits.float(), labels).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every_structure
@pytest.mark.usefixtures("fresh_compiler")
def test_it_compiles_as_one_graph(architecture: Architecture) -> None:
    """In training mode, where batch statistics keep the activations of every depth at scale 1."""
    network, clips = network_of(architecture), clips_of(architecture)
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")(clips)
        torch.testing.assert_close(compiled, network(clips), atol=1e-4, rtol=1e-4)


@every_reduced
def test_it_survives_safetensors(architecture: Architecture, tmp_path: Path) -> None:
    network, again = network_of(architecture).eval(), network_of(architecture, seed=3).eval()
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    again.load_state_dict(load_file(tmp_path / "network.safetensors"))
    with torch.no_grad():
        assert torch.equal(again(clips_of(architecture)), network(clips_of(architecture)))


@every_reduced
@pytest.mark.parametrize(("frames", "size"), [(4, (48, 80)), (5, (45, 77))], ids=["oblong", "odd"])
def test_other_inputs_run_or_are_refused(architecture: Architecture, frames: int, size: tuple[int, int]) -> None:
    """Patches have to divide the clip; all else rounds up or clips its windows and tubes."""
    stem = architecture.stem
    if isinstance(stem, PatchStem) and any(n % p for n, p in zip((frames, *size), stem.size, strict=True)):
        with pytest.raises(ArchitectureError) as raised:
            architecture.resized(frames, size)
        sentence = (
            r"stem\.size: \[.*\] does not divide the input's (frames|height|width) (\d+); allowed: divisors of \2"
        )
        assert re.fullmatch(sentence, str(raised.value))
    else:
        other = architecture.resized(frames, size)
        with torch.no_grad():
            logits = build(other).eval()(clips_of(other, 1))
        assert logits.shape == (1, 7) and logits.isfinite().all()


@every_reduced
def test_a_clip_that_does_not_fit_is_refused(architecture: Architecture) -> None:
    extent = architecture.input.shape.extent
    channels = 4 if architecture.takes_any_clip else 3
    clip = torch.empty(1, channels, extent[0] + 1, extent[1] // 2, extent[2], device="meta")
    with pytest.raises(ArchitectureError, match=r"^input: a clip of \[1, .*\] does not fit; allowed: batch, channels"):
        build(architecture, device="meta")(clip)


@every_reduced
def test_it_comes_from_the_meta_device_by_its_state(architecture: Architecture) -> None:
    """Buffers that are in no state are computed again, in the precision that the network has."""
    network = network_of(architecture).eval()
    empty = build(architecture, device="meta").to_empty(device="cpu").eval()
    empty.load_state_dict(network.state_dict())
    buffers = dict(network.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in empty.named_buffers())
    clip = clips_of(architecture, 1)
    with torch.no_grad():
        assert torch.equal(empty(clip), network(clip))
    again = empty.double().to_empty(device="cpu")
    for name, buffer in again.named_buffers():
        if name not in network.state_dict():
            assert torch.equal(buffer, buffers[name].to(buffer.dtype))
