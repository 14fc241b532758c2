"""Which layers of the Qwen mixtures route, and over what width."""

from ullage.architectures._decoder import Widths
from ullage.architectures._experts import Feeding, Mixture, dense, routed
from ullage.domain.hyperparameters import Hyperparameters


def routing_layers(config: Hyperparameters, layers: int) -> frozenset[int]:
    """Every ``decoder_sparse_step``-th layer routes, unless it is listed as an MLP."""
    step = config.integer_or("decoder_sparse_step", 1, low=1)
    plain = frozenset(config.integers("mlp_only_layers")) if config.has("mlp_only_layers") else frozenset()
    return frozenset(index for index in range(layers) if index not in plain and (index + 1) % step == 0)


def mixture(config: Hyperparameters, *, shared: int = 0) -> Mixture:
    """The experts of a layer that routes."""
    return Mixture(
        experts=config.first_integer("num_experts", "num_local_experts"),
        per_token=config.integer("num_experts_per_tok"),
        intermediate=config.integer("moe_intermediate_size"),
        shared=shared,
        shared_name="shared_expert",
    )


def feeding(at: str, index: int, size: Widths, experts: Mixture, *, routes: frozenset[int], intermediate: int) -> Feeding:
    """The routed block of a layer that routes, the dense MLP of one that does not."""
    return routed(at, index, size, experts) if index in routes else dense(at, index, size, intermediate)


def windows(config: Hyperparameters, layers: int) -> tuple[int | None, ...]:
    """The window of each layer, None for full attention."""
    listed = config.words("layer_types", length=layers) if config.has("layer_types") else ()
    first_full = config.integer_or("max_window_layers", 28)
    window = config.integer_or("sliding_window", 4096)
    if not config.flag("use_sliding_window", default=False):
        return (None,) * layers
    if listed:
        return tuple(window if kind == "sliding_attention" else None for kind in listed)
    return tuple(window if index < first_full and index % 2 == 0 else None for index in range(layers))
