"""The page of operators is what the registries say."""

from __future__ import annotations

from pathlib import Path

from nas.architecture.reference import operators_page

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_in_docs_says_what_the_registries_say() -> None:
    """A new operator may lack until the page is printed again; none is described wrongly."""
    assert not set(PAGE.read_text().splitlines()) - set(operators_page().splitlines())


def test_a_row_has_the_options_of_the_type() -> None:
    (row,) = [line for line in operators_page().splitlines() if line.startswith("| `x3d`")]
    assert row == (
        "| `x3d` | Inverted residual block with a depthwise 3D convolution (X3D). | "
        "`expansion` **2.25** (inner width over the layer's width); `kernel` **3**; `temporal_kernel` **3**; "
        "`excite` **true** (squeeze and excitation; X3D has it in every second block) |"
    )
