"""A search on a running Ray cluster: search_on_a_cluster.py DATA [--address auto] --storage FOLDER

    ray start --head                                   # on one machine, where this is started
    ray start --address HOST:6379                      # on each of the others
    python search_on_a_cluster.py /shared/clips --storage /shared/ray

DATA lies at the same path on every node, and FOLDER, for what Ray writes, on a disk that all share
(or is a URI such as s3://bucket/runs). How many networks train at a time follows from the nodes; a
limit such as `30ms@H100` in the budget trains on nodes with that GPU only.
"""

import argparse

import nas
from nas.errors import Interrupted


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--address", default="auto")
    parser.add_argument("--storage", required=True)
    parser.add_argument("--budget", default="20gflops")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", default="run")
    given = parser.parse_args(arguments)
    cluster = {"address": given.address, "storage": given.storage}
    try:
        run = nas.search("hybrid", given.budget, given.data, trials=given.trials, out=given.out, **cluster)
    except Interrupted as stopped:  # Ctrl-C: the journal has what was trained
        print(f"{stopped} --address {given.address} --storage {given.storage}")
        return
    print(run.front[["trial", "accuracy", "macs", "latency_ms"]].to_string(index=False))


if __name__ == "__main__":
    main()
