"""The command ``heightpose``, also as ``python -m heightpose``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while its modules are still imported ends it as quietly as later."""
    try:
        from heightpose.cli.main import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # errors.EXIT_INTERRUPTED


if __name__ == "__main__":
    main()
