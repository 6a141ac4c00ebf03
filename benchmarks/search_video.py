"""A table of video networks that have all been trained, to judge search strategies and proxies
without training.

    export OMP_NUM_THREADS=1
    python benchmarks/search_video.py table [--workers 2] [--networks 128] [--seeds 2]
    python benchmarks/search_video.py table --collect
    python benchmarks/search_video.py latency [--threads 1]
    python benchmarks/search_video.py replay [--seeds 20] [--page docs/results/search_quality.md]
    python benchmarks/search_video.py proxies [--seeds 16] [--page docs/results/search_quality.md]
    python benchmarks/search_video.py honesty [--workers 2] [--minutes 60]
    python benchmarks/search_video.py live [--seeds 3] [--trials 24]
    python benchmarks/search_video.py inherit [--workers 2] [--minutes 30]

Networks: 1000 candidates are drawn from space `tiny` with equal chances. They are put into cells by
the operator of their first layer (six) and by the logarithm of their multiply-adds (eight bins of
equal width between the cheapest and the dearest). Cells give up one candidate in turn, in order of
drawing, until there are enough, so that every operator heads as many networks as any other, and
both ends of the cost are seen. Networks that would be the same at the input of the training count
once.

Training: `nas.training.loop.Training`, as in a search, on clips of nagoya_fir16 (16 frames of
16x16), the first of the four days held out; nothing is selected on it, and its accuracy is written
down after every epoch. A clip is shifted and stretched about its median, because the temperature of
the room differs more than that of people, and becomes grey RGB.

Every finished training is a file of the store, a folder that git ignores, and what is in the store
is not trained again. The first seed of all networks comes first, in random order: a table that is
cut short is still balanced. `table --collect` makes `video_architectures.parquet` of the store, and
the recipe beside it as JSON.

The other subcommands print a part of docs/results/search_quality.md, which says what they do, and
with `--page` put it there. They go by the table, or by the store where that has more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from video.honesty import honesty
from video.inherit import CHILDREN, PARENTS, inherit
from video.live import FOLDER, live
from video.proxies import proxies
from video.replay import replay
from video.table import COUNT, EPOCHS, STORE, TABLE, latency, table

from nas.errors import NasError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    stored, paged, timed = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    stored.add_argument("--store", type=Path, default=STORE, help="folder of finished trainings")
    stored.add_argument("--out", type=Path, default=TABLE, help="the table")
    paged.add_argument("--page", type=Path, help="a Markdown page to put what is printed into")
    timed.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    timed.add_argument("--minutes", type=float, help="after which no training is begun; 0 trains nothing")

    command = commands.add_parser("table", parents=[stored], help="train the networks")
    command.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    command.add_argument("--networks", type=int, default=COUNT)
    command.add_argument("--seeds", type=int, default=2)
    command.add_argument("--epochs", type=int, default=EPOCHS)
    command.add_argument("--collect", action="store_true", help="train nothing, write the table")
    command.set_defaults(run=table)

    command = commands.add_parser("latency", parents=[stored], help="measure the networks; wants a quiet machine")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--max-seconds", type=float, default=1.0, help="of timed runs")
    command.add_argument("--patience", type=float, default=5.0, help="further seconds for a disturbed measurement")
    command.set_defaults(run=latency)

    command = commands.add_parser("replay", parents=[stored, paged], help="samplers on the table")
    command.add_argument("--seeds", type=int, default=20)
    command.set_defaults(run=replay)

    command = commands.add_parser("proxies", parents=[stored, paged], help="short proxies, with rungs and without")
    command.add_argument("--seeds", type=int, default=16)
    command.set_defaults(run=proxies)

    command = commands.add_parser("honesty", parents=[stored, paged, timed], help="proxies against full training")
    command.add_argument("--networks", type=int, default=COUNT, help="of the table when it is complete")
    command.set_defaults(run=honesty)

    command = commands.add_parser("live", parents=[paged], help="a search against random search of the same time")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--trials", type=int, default=24)
    command.add_argument("--workers", type=int, help="trials in parallel; one per core by default")
    command.add_argument("--runs", type=Path, default=FOLDER, help="folder of run folders")
    command.set_defaults(run=live)

    command = commands.add_parser("inherit", parents=[stored, paged, timed], help="children with parents' weights")
    command.add_argument("--parents", type=int, default=PARENTS, help="at most six, as there are operators")
    command.add_argument("--children", type=int, default=CHILDREN, help="of each parent")
    command.set_defaults(run=inherit)

    options = parser.parse_args()
    try:
        options.run(options)
    except NasError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
