"""Units in a row on devices in a row: which run of them lies where. Layers never change their order, so each device holds one run.

``load(device, first, end)`` is what the units ``first`` to ``end - 1`` take on a device, fixed costs included; more units never take less.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

Span = tuple[int, int]  # first, one past the last; equal where a device holds none
Load = Callable[[int, int, int], int]


def longest_run(first: int, units: int, fits: Callable[[int], bool]) -> int:
    """The largest end from ``first`` to ``units`` for which ``fits`` holds, by bisection; ``first`` where not one unit fits."""
    return first + bisect_left(range(first + 1, units + 1), True, key=lambda end: not fits(end))


def fill(units: int, caps: Sequence[int], load: Load) -> tuple[Span, ...]:
    """Devices filled one after the other, each up to its cap, never going back. What is left over lies on none.

    No other placement in this order holds more units, as every device takes the longest run it can.
    """
    spans, first = [], 0
    for device, cap in enumerate(caps):
        end = longest_run(first, units, lambda end, device=device, first=first, cap=cap: load(device, first, end) <= cap)  # type: ignore[misc]
        spans.append((first, end))
        first = end
    return tuple(spans)


def left_over(units: int, spans: Sequence[Span]) -> int:
    """Units that a filling left on no device."""
    return units - (spans[-1][1] if spans else 0)


def excess(spans: Sequence[Span], caps: Sequence[int], load: Load) -> int:
    """By how much the worst device passes its cap; negative: what every device has left at least."""
    return max(load(device, *span) - caps[device] for device, span in enumerate(spans))


def balanced(units: int, caps: Sequence[int], load: Load) -> tuple[Span, ...]:
    """The placement whose worst device has the most left under its cap; on devices alike, the one with the smallest maximum.

    Bisection over the excess allowed: if any placement stays within it, so does a filling.
    """
    everything = [load(device, 0, units) - cap for device, cap in enumerate(caps)]
    high = max(min(everything), *(load(device, 0, 0) - cap for device, cap in enumerate(caps)))
    low = -max(caps)
    while low < high:
        middle = (low + high) // 2
        allowed = [cap + middle for cap in caps]
        if not left_over(units, fill(units, allowed, load)) and all(load(d, 0, 0) <= cap for d, cap in enumerate(allowed)):
            high = middle
        else:
            low = middle + 1
    return fill(units, [cap + high for cap in caps], load)


def proportional(whole: int, weights: Sequence[int]) -> tuple[int, ...]:
    """``whole`` in whole parts as nearly in proportion to ``weights`` as can be; they add up to it (largest remainders first)."""
    total = sum(weights)
    if total <= 0:
        return (whole, *(0 for _ in weights[1:]))
    parts = [whole * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(whole * weights[i] % total), i))
    for index in order[: whole - sum(parts)]:
        parts[index] += 1
    return tuple(parts)


def imbalance(loads: Sequence[int]) -> float:
    """How much fuller the fullest device is than the mean: 0.0 is even, 1.0 is twice the mean."""
    total = sum(loads)
    return max(loads) * len(loads) / total - 1 if total > 0 else 0.0
