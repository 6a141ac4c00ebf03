"""Search over several objectives of which some are known before anything is trained, for any Optuna
study.

Here: Pareto fronts and hypervolume (`front`), regression (`gaussian_process`), what candidates may
come to (`surrogate`), where they come from (`candidates`), which one is next (`acquisition`), the
sampler, spaces of parameters, and checks of a space that somebody else wrote (`testing`). Not here:
anything that knows of networks or video. Nothing else of this package may be imported.
"""
