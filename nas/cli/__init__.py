"""The command `nas`: one file per command, each a thin layer over the Python API."""
