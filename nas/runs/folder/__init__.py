"""The files of a run folder: one module writes and reads each, and `run` reads them as a whole.

record         `run.json`: what was asked and planned, and what became of it
tables         the CSV tables
journal        what a report reads of Optuna's journal
confirmations  `confirm.csv`, written row by row
baselines      `baselines.csv`, written row by row, and what it comes to
measurements   `measurements.jsonl`, written row by row
run            what one search wrote, as a whole: `nas.Run`
consistency    whether the files agree with each other
export         the architecture file of a pick, with its provenance
"""
