"""Charts: described once as data, and drawn from that by plotly for the page and by matplotlib for
pictures.

What may stand here: how a chart looks. What may not: anything about a search; the data of a chart
comes from its panel.
"""
