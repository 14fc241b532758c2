"""A model from a path: configuration, architecture, traits and the decoder with its weights."""

import torch

from ullage import architectures
from ullage.domain.architecture import Architecture
from ullage.domain.hyperparameters import Hyperparameters
from ullage.engines.runtime.pages import Group, groups_of
from ullage.engines.runtime.residence import packs
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass
from ullage.runtime.linear.plain import Packed, Plain
from ullage.runtime.loading.source import Source, open_source
from ullage.runtime.model.assemble import Assembly, MakeLinear
from ullage.runtime.model.decoder import Decoder
from ullage.runtime.model.families import traits
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


def load(path: str, *, dtype: torch.dtype, device: torch.device) -> Loaded:
    """Read a directory or a GGUF file. Raises what its parts raise, before any weight is read where it can."""
    source = open_source(path)
    config = loads(source.documents["config.json"])
    if not isinstance(config, dict):
        raise MalformedFileError(f"config.json of {path} is no JSON object")
    blueprint = architectures.read(Hyperparameters(config))
    own = traits(Hyperparameters(config), blueprint.architecture)
    groups = groups_of(blueprint.architecture)
    decoder = Assembly(blueprint, own, groups, source, dtype=dtype, device=device, make_linear=_form(dtype, device)).decoder()
    return Loaded(
        source=source, architecture=blueprint.architecture, traits=own, groups=groups, decoder=decoder, dtype=dtype, device=device
    )


def _form(dtype: torch.dtype, device: torch.device) -> MakeLinear:
    if device.type != "cpu" or dtype is not torch.bfloat16:
        return Plain
    return lambda weight, bias: (Packed if packs(*weight.shape) else Plain)(weight, bias)
