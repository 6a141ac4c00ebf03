"""Search over several objectives of which some are known; for any Optuna study: imports nothing of
this package.
"""
