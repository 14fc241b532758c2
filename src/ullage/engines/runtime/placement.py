"""Layers over several devices: which run of them lies where. The plan decides by this, and the runtime where nobody else did."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.pages import Form, Group, form_of, groups_of
from ullage.engines.runtime.weights import Resident
from ullage.errors import InputError, UnsupportedModelError
from ullage.formulas.placement import Span, balanced, proportional
from ullage.frozen import dataclass, replace

NO_EXPERTS = "--host-experts is for models with routed experts, and this has none; leave it out"


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


def balanced_split(layers: Sequence[int], caps: Sequence[int], *, first: int, last: int) -> tuple[int, ...]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the cache is to hold: ``sequences`` of ``tokens``, made in steps of ``rows``, in one form."""

    tokens: int
    sequences: int
    rows: int
    page_tokens: int
    keys: str
    values: str
    element: int


def chosen_split(architecture: Architecture, found: Resident, kept: Kept, caps: Sequence[int], *, on_host: bool) -> tuple[int, ...]:
    """Layers for each device by what they take with the cache of ``kept``; ``on_host``: experts lie on no device."""
    own = zip(found.layers, found.experts, _cached(architecture, kept), strict=True)
    layers = [nbytes - (experts if on_host else 0) + pages for nbytes, experts, pages in own]
    return balanced_split(layers, caps, first=found.table, last=found.norm + found.head)


@lru_cache(maxsize=256)
def _cached(architecture: Architecture, kept: Kept) -> tuple[int, ...]:
    """Bytes of the pages of each layer; nothing for layers that the runtime does not run, which is objected to."""
    found = [0] * len(architecture.layers)
    try:
        groups = groups_of(architecture)
    except UnsupportedModelError:
        return tuple(found)
    for group in groups:
        for layer, rows in zip(group.layers, group.rows, strict=True):
            one = Group(window=group.window, layers=(layer,), rows=(rows,))
            form = form_of((one,), page_tokens=kept.page_tokens, keys=kept.keys, values=kept.values, element=kept.element)
            found[layer] += form.peak_bytes(kept.tokens, kept.rows) * kept.sequences
    return tuple(found)
