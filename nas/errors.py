"""The error that a user can mend: its message is one sentence, and commands end with exit code 2."""


class NasError(ValueError):
    """Bad input. The message names the thing, its value and what is allowed."""
