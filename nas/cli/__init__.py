"""The command `nas`: one file per command, each a thin layer over the Python API.

More than a dozen files, because each command is one.
"""
