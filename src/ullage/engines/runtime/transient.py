"""What a step needs beside weights and cache: the widest of its moments."""

ROWS = 512  # rows that wide intermediates are made for at a time; more of them multiply no faster
PIECE_KEYS = 4096  # keys of one call of the attention kernel
