"""A network for your own clips: search_your_folder.py CLIPS [--budget 5gflops] [--time 10m]

CLIPS is a folder with a folder of videos for each class, or a list; `nas data sample CLIPS` writes
one to try this on. The run folder gets a report, and the file beside it the most accurate network
that keeps the budget, which `nas train` trains at its full size:

    nas train best.yaml --data CLIPS --out best
"""

import argparse

import nas
from nas.report import write
from nas.units import seconds


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips")
    parser.add_argument("--space", default="hybrid")
    parser.add_argument("--budget", default="5gflops")
    parser.add_argument("--time", default="10m")
    parser.add_argument("--out", default="run")
    given = parser.parse_args(arguments)
    run = nas.search(given.space, given.budget, given.clips, time=seconds(given.time), out=given.out)
    page, *_ = write(run)
    for name, trial in run.picks().items():
        row = run.row(trial)
        print(f"{name}: trial {trial}, {100 * row['accuracy']:.1f} % as a proxy, {row['macs'] / 1e9:.3g} GFLOPs")
    if not run.front.empty:
        run.pick().save("best.yaml")
        print("best.yaml has the most accurate network that keeps the budget")
    print(f"{page} says how sure that is")


if __name__ == "__main__":
    main()
