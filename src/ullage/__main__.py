"""``python -m ullage`` and the ``ullage`` command."""

import sys

from ullage import cli


def main() -> None:
    """Answer the command line and end the process with its exit code."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
