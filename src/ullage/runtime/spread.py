"""A model over several devices: which they are, how its layers are split, and what each of them may take."""

from collections.abc import Sequence

import torch

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.pages import Form, form_of
from ullage.engines.runtime.placement import Kept, budgets_of, chosen_split, part, spans_of
from ullage.engines.runtime.settings import cache_forms
from ullage.engines.runtime.sizing import FALLBACK_TOKENS, LARGEST_CPU_CHUNK, choose_chunk, default_memory
from ullage.engines.runtime.versions import PROCESS
from ullage.engines.runtime.weights import Resident
from ullage.errors import InputError
from ullage.frozen import dataclass, replace
from ullage.runtime.load import Loaded
from ullage.runtime.memory import resident_bytes
from ullage.runtime.options import Options
from ullage.runtime.sizing import Sized, size
from ullage.world.drivers import host


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One device: the model as it sees it, its pages, what is free there and what is taken already."""

    seen: Architecture
    form: Form
    free_bytes: int
    taken_bytes: int
    last: bool


def devices_of(options: Options) -> tuple[torch.device, ...]:
    """The devices asked for, or the first there is. Several processors are one that stands in for several. Raises InputError."""
    names = options.devices or (("cuda",) if torch.cuda.is_available() else ("cpu",))
    if names[0].startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {','.join(names)}: PyTorch sees no such device here; write --device cpu")
    if len(set(names)) < len(names):
        raise InputError(f"--device {','.join(names)}: a device is named twice")
    return tuple(torch.device("cpu") if name.startswith("cpu") else torch.device(name) for name in names)


def split_for(
    options: Options, architecture: Architecture, found: Resident, devices: Sequence[torch.device], element: int
) -> tuple[int, ...]:
    """Layers on each device: as said, or as the plan would lay them. Raises InputError where what was said cannot be."""
    layers = len(architecture.layers)
    if options.split or len(devices) == 1:
        split = options.split or (layers,)
        spans_of(split, layers, len(devices))
        return split
    keys, values = cache_forms(options.kv_dtype)
    kept = Kept(
        tokens=options.max_len or architecture.max_context_tokens or FALLBACK_TOKENS,
        sequences=options.max_sequences,
        rows=options.chunk_tokens or LARGEST_CPU_CHUNK,
        page_tokens=options.page_tokens,
        keys=keys,
        values=values,
        element=element,
    )
    caps = [options.memory_bytes or default_memory(free_bytes(device) // _standing_in(devices)) for device in devices]
    return chosen_split(architecture, found, kept, caps, on_host=options.host_experts is not None)


def sizes(options: Options, loaded: Loaded, split: Sequence[int], element: int) -> Sized:
    """The sizes of a loaded model, its budgets device by device; one step and one length suit them all. Raises InputError with numbers."""
    places = _places(options, loaded, split, element)
    device = loaded.device.type
    if len(places) == 1:
        (one,) = places
        sized = size(options, one.seen, one.form, element=element, free_bytes=one.free_bytes, taken_bytes=one.taken_bytes, device=device)
        return replace(sized, budgets=(sized.cache_bytes,))
    chunk = options.chunk_tokens or min(_chunk(options, place, element, device) for place in places)
    said = options.cache_bytes
    caches = (None,) * len(places) if said is None else budgets_of(said, [place.form for place in places])
    found = [
        size(
            replace(options, chunk_tokens=chunk, cache_bytes=cache),
            place.seen,
            place.form,
            element=element,
            free_bytes=place.free_bytes,
            taken_bytes=place.taken_bytes,
            device=device,
            head=place.last,
        )
        for place, cache in zip(places, caches, strict=True)
    ]
    budgets = tuple(one.cache_bytes for one in found)
    return replace(found[0], cache_bytes=sum(budgets), budgets=budgets, step_bytes=max(one.step_bytes for one in found))


def _chunk(options: Options, place: _Place, element: int, device: str) -> int:
    memory = options.memory_bytes or default_memory(place.free_bytes + place.taken_bytes)
    context = options.max_len or place.seen.max_context_tokens or FALLBACK_TOKENS
    left = memory - place.taken_bytes
    return choose_chunk(place.seen, context=context, sequences=options.max_sequences, element=element, left_bytes=left, device=device)


def _places(options: Options, loaded: Loaded, split: Sequence[int], element: int) -> list[_Place]:
    keys, values = cache_forms(options.kv_dtype)
    spans = spans_of(split, len(loaded.architecture.layers), len(loaded.devices))
    found = []
    for index, (device, span) in enumerate(zip(loaded.devices, spans, strict=True)):
        groups = [group for group in loaded.groups if group.device == index]
        found.append(
            _Place(
                seen=part(loaded.architecture, span),
                form=form_of(groups, page_tokens=options.page_tokens, keys=keys, values=values, element=element),
                free_bytes=free_bytes(device) // _standing_in(loaded.devices),
                taken_bytes=_taken(loaded, index),
                last=index == len(spans) - 1,
            )
        )
    return found


def _standing_in(devices: Sequence[torch.device]) -> int:
    """How many of them share one memory."""
    return len(devices) if devices[0].type == "cpu" else 1


def free_bytes(device: torch.device) -> int:
    """Of a device, now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    there = host.read()
    return there.total_bytes - there.reserved_bytes


def _taken(loaded: Loaded, index: int) -> int:
    """What the process takes on a device, with the room that experts of the host will take. The host's own is the first processor's."""
    device, staging = loaded.devices[index], loaded.stagings[index].nbytes if loaded.stagings else 0
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device)) + staging
    if len(loaded.devices) == 1:
        return resident_bytes() + staging
    on_host = [one.host_bytes for one in loaded.stagings] or [0] * len(loaded.devices)
    own = loaded.decoder.stages[index].weight_bytes - on_host[index] + staging
    return own + (PROCESS.value + sum(on_host) if index == 0 else 0)
