"""The model card of a trained network: what whoever uses it has to know, in Markdown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nas.profiler.computed.cost import cost
from nas.profiler.measured.measure import Measurement
from nas.report.text import code, escaped, with_error
from nas.trained.folder import Figure, TrainedModel
from nas.trained.scores import standard_error
from nas.units import number, plural, quantity


def model_card(model: TrainedModel, latency: Measurement | None = None) -> str:
    """The text of the card.

    Args:
        model: The network.
        latency: What was measured of it; None where nothing was.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown and not HTML: the filters below make harmless what comes from data.
    environment = Environment(  # nosec B701
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": lambda value: escaped(_line(value)), "code": lambda value: code(_line(value))}
    record = model.record
    provenance = {name: value for name, value in vars(record.provenance).items() if value is not None}
    card: str = environment.get_template("card.md.j2").render(
        name=model.name,
        classes=record.classes,
        layers=_layers(model),
        versions=record.versions,
        input=record.preprocessing,
        clip_seconds=number(record.clip_seconds) if record.clip_seconds else None,
        figures=[{"name": name, **_figure(name, figure)} for name, figure in record.figures.items()],
        selected=any("validation" in name for name in record.figures),
        tested=any("test" in name for name in record.figures),
        cost=_cost(model),
        latency=latency and _latency(latency),
        provenance=provenance | {f"version of {name}": text for name, text in record.versions.items()},
    )
    return card


def _line(value: object) -> str:
    """A value as one line of harmless text."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _layers(model: TrainedModel) -> str:
    architecture = model.network.architecture
    layers = ", ".join(f"{op} x{count}" if count > 1 else op for op, count in architecture.operators.items())
    count = plural(sum(architecture.operators.values()), "layer")
    return (
        f"a stem of the kind {architecture.stem.op}, {count} ({layers}) and a head of the kind {architecture.head.op}"
    )


def _figure(name: str, figure: Figure) -> dict[str, str]:
    if "accuracy" not in name:
        return {"value": number(figure.value), "clips": f"{figure.clips:,}"}
    error = standard_error(figure.value, figure.clips) if 0 < figure.value < 1 else math.nan
    return {"value": f"{with_error(figure.value, error)} %", "clips": f"{figure.clips:,}"}


def _cost(model: TrainedModel) -> dict[str, str]:
    found = cost(model.network.architecture)
    return {
        "multiply-adds": quantity(found.macs),
        "parameters": quantity(found.params),
        "bytes moved": quantity(found.bytes_moved, "B"),
        "memory of an inference, weights included": quantity(found.inference_bytes + found.parameter_bytes, "B"),
        "memory of a training step with AdamW": quantity(found.training_bytes("adamw"), "B"),
    }


def _latency(found: Measurement) -> dict[str, Any]:
    p90 = f", {number(found.latency_ms.p90)} ms in the 90th percentile" if found.latency_ms.p90 else ""
    return {
        "text": f"{number(found.latency_ms.median)} ms in the median of {plural(found.latency_ms.n, 'run')}{p90}",
        "device": found.device,
        "dtype": found.conditions.dtype if found.conditions else "fp32",
        "memory": quantity(found.peak_memory_bytes, "B"),
        "flags": found.flags,
    }
