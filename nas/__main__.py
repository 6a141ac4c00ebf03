"""`python -m nas`, which is `nas`."""

from nas.cli.app import main

main()
