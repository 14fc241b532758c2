"""A model from a path: configuration, architecture, traits and the decoder with its weights."""

import torch

from ullage import architectures
from ullage.domain.architecture import Architecture
from ullage.domain.hyperparameters import Hyperparameters
from ullage.engines.runtime.extended import extended
from ullage.engines.runtime.pages import Group, groups_of
from ullage.engines.runtime.weight_forms import NATIVE, head_word
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass, replace
from ullage.runtime.linear.forms import Forms
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.loading.source import Source, open_source
from ullage.runtime.model.assemble import Assembly
from ullage.runtime.model.decoder import Decoder
from ullage.runtime.model.families import traits
from ullage.runtime.model.staging import Staging
from ullage.runtime.model.traits import Traits
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
    device: torch.device
    scratch: Scratch  # where linear layers unpack their weights
    staging: Staging | None = None  # where experts that lie on the host stand when they are used


def load(
    path: str,
    *,
    dtype: torch.dtype,
    device: torch.device,
    weights: str = NATIVE,
    head: str | None = None,
    dual_chunk: tuple[int, int] | None = None,
    staged_experts: int | None = None,
) -> Loaded:
    """Read a directory or a GGUF file; ``weights`` is a word of that setting, ``head`` another for the head than follows from it.

    ``dual_chunk``: tokens of a chunk and of its local part, for a model that is to read further than it was trained to.
    ``staged_experts``: experts lie on the host, and so many of them at a time on the device.
    Raises what its parts raise, before any weight is read where it can.
    """
    source = open_source(path)
    config = loads(source.documents["config.json"])
    if not isinstance(config, dict):
        raise MalformedFileError(f"config.json of {path} is no JSON object")
    blueprint = architectures.read(Hyperparameters(config))
    if dual_chunk is not None:
        blueprint = replace(blueprint, architecture=extended(blueprint.architecture, *dual_chunk))
    own = traits(Hyperparameters(config), blueprint.architecture)
    groups = groups_of(blueprint.architecture)
    scratch = Scratch(device)
    staging = None if staged_experts is None else Staging(staged_experts, device)
    decoder = Assembly(
        blueprint,
        own,
        groups,
        source,
        dtype=dtype,
        device=device,
        make_linear=Forms(weights, scratch),
        make_head=Forms(head or head_word(weights), scratch),
        staging=staging,
    ).decoder()
    return Loaded(
        source=source,
        architecture=blueprint.architecture,
        traits=own,
        groups=groups,
        decoder=decoder,
        dtype=dtype,
        device=device,
        scratch=scratch,
        staging=staging,
    )
