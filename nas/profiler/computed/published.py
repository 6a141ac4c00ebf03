"""The reference networks beside the figures that their papers print."""

from __future__ import annotations

import pandas as pd

from nas.architecture import Architecture, load
from nas.profiler.computed.cost import cost
from nas.resources import resource_folder, resource_names

REFERENCE = "search_spaces/reference"


def published() -> pd.DataFrame:
    """Figures of the papers, a row per network.

    Returns:
        network, source, mparams (10^6), gmacs (10^9 multiply-adds), without_classifier (which of
        `params` and `macs` the paper counts without the last linear layer), top1 (accuracy in % and
        data set), note.
    """
    return pd.read_csv(resource_folder(REFERENCE) / "published.csv", keep_default_na=True).fillna(
        {"without_classifier": "", "top1": "", "note": ""}
    )


def reference_table() -> pd.DataFrame:
    """Computed cost of every reference network at its own input, and its ratio to the published
    figure.

    Returns:
        network, input, params and macs as computed, counting what the paper counts; mparams and
        gmacs as published; params_ratio and macs_ratio, computed over published; top1, source,
        note.
    """
    rows = []
    figures = published().set_index("network")
    for name in resource_names(REFERENCE):
        architecture, paper = load(name), figures.loc[name]
        whole, (params, macs) = cost(architecture), classifier_cost(architecture)
        params = whole.params - params * ("params" in paper.without_classifier)
        macs = whole.macs - macs * ("macs" in paper.without_classifier)
        rows.append(
            {
                "network": name,
                "input": "x".join(map(str, architecture.input.shape.extent)),
                "params": params,
                "mparams": paper.mparams,
                "params_ratio": params / 1e6 / paper.mparams,
                "macs": macs,
                "gmacs": paper.gmacs,
                "macs_ratio": macs / 1e9 / paper.gmacs,
                "top1": paper.top1,
                "source": paper.source,
                "note": paper.note,
            }
        )
    return pd.DataFrame(rows)


def classifier_cost(architecture: Architecture) -> tuple[int, int]:
    """Parameters and multiply-adds of the last linear layer: all classes are equal, so that one
    class tells them.
    """
    classes = architecture.num_classes
    whole, more = cost(architecture), cost(architecture.resized(num_classes=classes + 1))
    return classes * (more.params - whole.params), classes * (more.macs - whole.macs)
