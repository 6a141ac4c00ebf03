"""What a network costs against what is allowed, before anything is trained.

Here: the table of metrics, budgets, the gate that prices candidates for samplers, a survey of what
a space costs and what it has inside a budget, memory and pace of the machine that trains, and the
hypervolume of a search. Not here: how a cost is computed or measured (`nas.profiler`), and what is
proposed next (`nas.pareto`, `nas.trials`).
"""
