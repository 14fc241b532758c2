"""The keys that clients may show: from a file or from the environment, never from the command line."""

import os
from pathlib import Path

from ullage.domain.guard import GuardOptions
from ullage.errors import WorldError


def read_keys(options: GuardOptions) -> tuple[bytes, ...]:
    """Every key; none where none was asked for. Raises WorldError where one was asked for and is not there."""
    found: list[bytes] = []
    if options.keys_file:
        try:
            lines = Path(options.keys_file).expanduser().read_bytes().splitlines()
        except OSError as error:
            raise WorldError(f"the keys in {options.keys_file} cannot be read: {error.strerror or error}") from error
        found += [line.strip() for line in lines if line.strip() and not line.startswith(b"#")]
        if not found:
            raise WorldError(f"{options.keys_file} holds no key; write one a line")
    if options.keys_variable:
        word = os.environb.get(options.keys_variable.encode(), b"").strip()
        if not word:
            raise WorldError(f"the environment variable {options.keys_variable} holds no key; set it, or name another")
        found.append(word)
    return tuple(found)
