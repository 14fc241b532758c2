"""What a model family is: a configuration goes in, the architecture and the full list of its tensors come out."""

from collections.abc import Callable

from ullage.domain.architecture import Architecture
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A model as its configuration describes it: unquantised tensors in the model's dtype.

    ``parameters`` counts every element except those of draft layers (Role.MTP).
    """

    architecture: Architecture
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One file in ``architectures/``: the model types it reads and the function that reads them."""

    model_types: tuple[str, ...]
    read: Callable[[Hyperparameters], Blueprint]
    title: str  # "Llama 1-3 and what shares its shape"
