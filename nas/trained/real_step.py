"""The memory of a training step, measured before a training begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.profiler.measured.measure import measure
from nas.trained.plan import Plan
from nas.trained.stage_memory import largest_stage, share, step_memory

STEP_SECONDS = 1.0  # in which real steps are taken beside the one whose memory is measured


def check_memory(plan: Plan, say: Callable[[str], None]) -> Plan:
    """Takes a step with a micro-batch in a fresh process; halves it while a step does not fit.

    Args:
        plan: With a micro-batch by computation.
        say: Takes the prediction and the measurement.

    Returns:
        The plan, with the micro-batch that was measured.

    Raises:
        NasError: A step with one clip does not fit, or the measuring process failed otherwise.
    """
    while True:
        measured = largest_stage(plan.architecture, plan.recipe, plan.micro_batch)
        predicted = cost(measured).training_bytes("adamw", plan.micro_batch)
        try:
            found = measure(
                measured,
                str(plan.device),
                "bf16" if plan.device.type == "cuda" else "fp32",
                plan.micro_batch,
                autocast=plan.device.type == "cuda",
                threads=plan.threads,
                max_seconds=STEP_SECONDS,
                train="AdamW",
            )
        except NasError as error:
            if "memory" not in str(error) or plan.micro_batch == 1:
                raise
            workers = plan.settings.workers
            half = max(n for n in range(1, plan.micro_batch) if share(plan.recipe, workers) % n == 0)
            say(f"  a step of {plan.micro_batch} clips does not fit ({error}); now {half}")
            step_bytes = step_memory(plan.architecture, plan.recipe, workers, half)
            plan = replace(plan, micro_batch=half, step_bytes=step_bytes)
            plan.check_shares(len(plan.data.train), None if plan.images is None else len(plan.images.train))
            continue
        say(
            f"  a step of {plan.micro_batch} clips with AdamW: {predicted / 1e9:.3g} GB predicted, "
            f"{found.peak_memory_bytes / 1e9:.3g} GB measured"
        )
        return plan
