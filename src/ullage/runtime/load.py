"""A model from a path: configuration, architecture, traits and the decoder with its weights."""

from collections.abc import Sequence
from functools import partial

import torch

from ullage import architectures
from ullage.domain.architecture import Architecture
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.engines.runtime.extended import extended
from ullage.engines.runtime.pages import Group, groups_of
from ullage.engines.runtime.placement import placed, spans_of
from ullage.engines.runtime.weight_forms import NATIVE, head_word
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass, replace
from ullage.runtime.linear.forms import Forms
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.loading.source import Source, open_source
from ullage.runtime.model.assemble import Assembly, decoder
from ullage.runtime.model.decoder import Decoder
from ullage.runtime.model.families import traits
from ullage.runtime.model.staging import Staging
from ullage.runtime.model.traits import Traits
from ullage.runtime.process import give_back_freed
from ullage.wire import loads


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """A model that can run."""

    source: Source
    architecture: Architecture
    traits: Traits
    groups: tuple[Group, ...]
    decoder: Decoder
    dtype: torch.dtype
    devices: tuple[torch.device, ...]
    scratches: tuple[Scratch, ...]  # where linear layers unpack their weights, device by device
    stagings: tuple[Staging, ...] = ()  # where experts that lie on the host stand when they are used

    @property
    def device(self) -> torch.device:
        """Where a step begins."""
        return self.devices[0]

    @property
    def scratch(self) -> Scratch:
        """Of the first device."""
        return self.scratches[0]

    @property
    def staging(self) -> Staging | None:
        """Of the first device; None where experts lie where they are computed."""
        return self.stagings[0] if self.stagings else None


def load(  # noqa: PLR0913 - what a model is kept in
    path: str,
    *,
    dtype: torch.dtype,
    device: torch.device,
    weights: str = NATIVE,
    head: str | None = None,
    dual_chunk: tuple[int, int] | None = None,
    staged_experts: int | None = None,
    devices: Sequence[torch.device] = (),
    split: Sequence[int] = (),
) -> Loaded:
    """Read a directory or a GGUF file; ``weights`` is a word of that setting, ``head`` another for the head than follows from it.

    ``dual_chunk``: tokens of a chunk and of its local part, for a model that is to read further than it was trained to.
    ``staged_experts``: experts lie on the host, and so many of them at a time on each device.
    ``devices``: several instead of ``device``, which may be one and the same, and ``split``: how many layers lie on each.
    Raises what its parts raise, before any weight is read where it can.
    """
    source = open_source(path)
    config = _config(source, path)
    blueprint = _blueprint(config, dual_chunk)
    own = traits(config, blueprint.architecture)
    each = tuple(devices) or (device,)
    spans = spans_of(split or (len(blueprint.architecture.layers),), len(blueprint.architecture.layers), len(each))
    groups = placed(groups_of(blueprint.architecture), spans)
    scratches = tuple(map(Scratch, each))
    stagings = () if staged_experts is None else tuple(Staging(staged_experts, one) for one in each)
    made = [(one, scratch, stagings[at] if stagings else None) for at, (one, scratch) in enumerate(zip(each, scratches, strict=True))]
    build = partial(Assembly, blueprint, own, groups, source, dtype=dtype)
    word = head or head_word(weights)
    assemblies = [
        build(device=one, make_linear=Forms(weights, scratch), make_head=Forms(word, scratch), staging=staging)
        for one, scratch, staging in made
    ]
    give_back_freed()  # what conversion took and left
    return Loaded(
        source=source,
        architecture=blueprint.architecture,
        traits=own,
        groups=groups,
        decoder=decoder(assemblies, spans),
        dtype=dtype,
        devices=each,
        scratches=scratches,
        stagings=stagings,
    )


def _config(source: Source, path: str) -> Hyperparameters:
    config = loads(source.documents["config.json"])
    if not isinstance(config, dict):
        raise MalformedFileError(f"config.json of {path} is no JSON object")
    return Hyperparameters(config)


def _blueprint(config: Hyperparameters, dual_chunk: tuple[int, int] | None) -> Blueprint:
    blueprint = architectures.read(config)
    if dual_chunk is None:
        return blueprint
    return replace(blueprint, architecture=extended(blueprint.architecture, *dual_chunk))
