"""The entry point of the command: `nas`, and `python -m nas`."""

import sys


def main() -> None:
    """Loads the command and runs it; Ctrl-C ends it with exit code 130 even while it is loading."""
    try:
        from nas.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
