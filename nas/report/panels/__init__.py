"""The sections of a report, one in a file: a subclass of `nas.report.panel.Panel` each.

A file that is added here is a section of every report, and nothing else needs to know of it. What
may not stand here: how a chart or a table is drawn (`nas.report.charts`, `nas.report.blocks`), and
what the tables of a run mean (`nas.runs`).

Places: 0 headline, 10 picks, 15 why this one, 16 published networks, 20 accuracy against cost, 30
front, 31 every trial, 33 picks drawn, 34 picks class by class, 35 over the limits, 40 random
search, 50 progress, 60 operators, 61 choices, 65 data, 67 clips that cannot be read, 70 what was
not trained, 72 trainings that failed, 75 predicted beside measured, 77 limits, 80 method, 84 time,
86 how to repeat it, 90 settings. Twenty-four files, because each is a section.
"""
