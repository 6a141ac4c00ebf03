"""A search on a cluster of two nodes, one of which is killed in the middle.

    python benchmarks/kill_node.py [--trials 40] [--after 10]

Both nodes are on this machine, with a CPU each; the second has its raylet, workers and agents
killed (SIGKILL) when so many results are known. Checked: every trial ends, none without a result;
both nodes trained before, and one after; `nas check` finds nothing wrong. Exit code 1 where one of
these fails.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from kill_search import SPACE, results

import nas
from nas.runs.folder.consistency import check_run

WAIT = 0.1  # seconds between looks at the journal


def kill_after(cluster: Any, node: object, folder: Path, count: int, killed: list[int]) -> None:
    """Kills the node when so many results are known, and notes how many there are then."""
    while len(results(folder)) < count:
        time.sleep(WAIT)
    cluster.remove_node(node, allow_graceful=False)
    killed.append(len(results(folder)))
    print(f"killed with {killed[0]} results known", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--after", type=int, default=10, help="results, after which the node is killed")
    args = parser.parse_args()
    # Nodes are joined with a token only, which Ray reads when it is imported.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as work:
        space, folder = Path(work, "space.yaml"), Path(work, "run")
        space.write_text(yaml.safe_dump(SPACE))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        killed: list[int] = []
        try:
            second = cluster.add_node(num_cpus=1)
            watch = (cluster, second, folder, args.after, killed)
            threading.Thread(target=kill_after, args=watch, daemon=True).start()
            run = nas.search(
                space,
                budget="20mflops",
                out=folder,
                trials=args.trials,
                address=cluster.address,
                epochs=2,
                proxy_frames=4,
                proxy_size=16,
                train_clips=96,
                val_clips=24,
                measure_seconds=0.1,
                confirm_seeds=0,
                baselines="none",
            )
        finally:
            cluster.shutdown()
        nodes = [result["node"] for _, result in results(folder)]
        states = run.trials["state"].value_counts().to_dict()
        problems = check_run(folder).problems
        before, after = (set(part) for part in (nodes[: killed[0]], nodes[killed[0] + 1 :]))
        print(
            f"{len(run.trials)} trials: {states}; nodes before {len(before)}, after {len(after)}; problems: {problems}"
        )
        if set(states) != {"finished"} or len(nodes) != args.trials or (len(before), len(after)) != (2, 1) or problems:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
