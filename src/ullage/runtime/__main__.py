"""``python -m ullage.runtime MODEL``: load, say what is promised, and serve."""

import sys
import time
import warnings

BEGAN = time.monotonic()
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # PyTorch asks for it; nothing here uses it


def main() -> int:
    """End with the exit code of the error, or 0 when told to stop."""
    from ullage.errors import UllageError  # noqa: PLC0415 - keeps the start quick, as below
    from ullage.runtime import options  # noqa: PLC0415

    words = tuple(sys.argv[1:])
    if options.asks_for_help(words):
        print(options.usage())  # noqa: T201 - it was asked for
        return 0
    try:
        asked, remarks = options.read(words)
        from ullage.runtime.shortage import while_doing  # noqa: PLC0415

        with while_doing("the libraries themselves were loaded"):
            from ullage.runtime.serve.start import run  # noqa: PLC0415

        return run(asked, remarks, BEGAN)
    except UllageError as error:
        said = str(error).removeprefix("error: ")  # memory that is refused says so itself
        print(f"ullage.runtime: error: {said}", file=sys.stderr)  # noqa: T201 - the program's own voice
        return error.exit_code


_STOPPED = 130  # as a shell reports an interrupt

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while it loads; later it ends in order
        print("ullage.runtime: stopped before it was ready", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(_STOPPED)
