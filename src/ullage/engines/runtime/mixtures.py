"""How a mixture of experts is worked off, where it matters to memory."""

from ullage.engines.runtime.transient import ROWS

_MOST = 8  # times ROWS: two tensors as wide as the model are held for so many rows


def mixture_rows(experts: int, per_token: int) -> int:
    """Rows a mixture is given at a time: about ``ROWS`` for each expert, so that reading an expert's weights is paid back."""
    return ROWS * max(1, min(_MOST, experts // per_token))
