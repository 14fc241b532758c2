"""Layers over several devices: which run of them lies where. The plan decides by this, and the runtime where nobody else did."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.pages import Form, Group
from ullage.errors import InputError
from ullage.formulas.placement import Span, balanced, proportional
from ullage.frozen import replace


def spans_of(split: Sequence[int], layers: int, devices: int) -> tuple[Span, ...]:
    """Runs of so many layers. Raises InputError where they are not those of the model, or not one number for each device."""
    if len(split) != devices or sum(split) != layers:
        said = ",".join(map(str, split))
        raise InputError(f"--split {said}: {layers} layers are to lie on {devices} devices, and this says {sum(split)} on {len(split)}")
    return tuple(pairwise(accumulate(split, initial=0)))


def placed(groups: Sequence[Group], spans: Sequence[Span]) -> tuple[Group, ...]:
    """The groups of every device in turn; a device that no layer of a group lies on has no such group."""
    found = []
    for device, (first, end) in enumerate(spans):
        for group in groups:
            here = [(layer, rows) for layer, rows in zip(group.layers, group.rows, strict=True) if first <= layer < end]
            if here:
                layers, rows = (tuple(side) for side in zip(*here, strict=True))
                found.append(Group(window=group.window, layers=layers, rows=rows, device=device))
    return tuple(found)


@lru_cache(maxsize=256)
def part(architecture: Architecture, span: Span) -> Architecture:
    """The model as one device sees it: some of its layers."""
    return architecture if span == (0, len(architecture.layers)) else replace(architecture, layers=architecture.layers[slice(*span)])


def split_of(layers: Sequence[int], caps: Sequence[int], *, first: int, last: int) -> tuple[int, ...]:
    """Layers for each device, so that the one with the least left under its cap has the most that can be.

    ``layers`` are bytes of each layer with its cache; ``first`` are bytes that lie on the first device anyhow, ``last`` on the last.
    """
    sums = tuple(accumulate(layers, initial=0))

    def load(device: int, begin: int, end: int) -> int:
        ends = (first if device == 0 else 0) + (last if device == len(caps) - 1 else 0)
        return sums[end] - sums[begin] + ends

    spans = balanced(len(layers), caps, load)
    return tuple(end - begin for begin, end in spans)


def budgets_of(cache_bytes: int, forms: Sequence[Form]) -> tuple[int, ...]:
    """Bytes for the cache on each device, in proportion to what a page of every group takes there."""
    return proportional(cache_bytes, [form.bundle_bytes for form in forms])
