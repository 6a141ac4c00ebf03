"""The report of a run: panels, drawn as one HTML page, as Markdown and as pictures.

What lives here: how results are shown. What may not: how they are found, chosen or measured; a
figure that the report shows is read from the run, or is a sum or share of what stands there.

`panels/` has the sections, one in a file; `blocks` what a section is made of; `charts/` how charts
are drawn; `page` puts them together. `cost_page` is the page of a profile and `reference_plot` the
picture of the reference networks.
"""

from nas.report.front import front_summary, how_to_go_on, over_summary
from nas.report.live import watch
from nas.report.page import write

__all__ = ["front_summary", "how_to_go_on", "over_summary", "watch", "write"]
