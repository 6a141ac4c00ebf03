"""The sections of a report, one in a file: a subclass of `nas.report.panel.Panel` each.

A file that is added here is a section of every report, and nothing else needs to know of it. What
may not stand here: how a chart or a table is drawn (`nas.report.charts`, `nas.report.blocks`), and
what the tables of a run mean (`nas.runs`).

Places: 0 headline, 10 picks, 20 accuracy against cost, 30 front, 35 over the limits, 40 random
search, 50 progress, 60 operators, 70 method, 80 candidates, 82 trainings that failed, 84 time,
85 clips that cannot be read, 90 settings. Fourteen files, because each is a section.
"""
