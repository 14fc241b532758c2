"""What the plain decoder families share: the outline of a Llama-shaped model, filled in by each family's file."""

from collections.abc import Callable
from dataclasses import dataclass

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import Architecture, Layer, RotaryTable
from ullage.domain.checkpoint import Tensor, TensorFormat
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The numbers every decoder configuration has."""

    hidden: int
    layers: int
    vocab: int
    query_heads: int
    kv_heads: int
    head_dim: int
    max_context_tokens: int | None
    tied: bool
    dtype: str
    fmt: TensorFormat


def widths(config: Hyperparameters, *, tied: bool = False, head_dim: int | None = None, dtype: str = "float32") -> Widths:
    """Read them in the spelling of Llama and its kin; the arguments are the family's own defaults."""
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    word = config.text_or("torch_dtype", config.text_or("dtype", dtype))
    return Widths(
        hidden=hidden,
        layers=config.integer("num_hidden_layers"),
        vocab=config.integer("vocab_size"),
        query_heads=heads,
        kv_heads=config.integer_or("num_key_value_heads", heads, low=1),
        head_dim=config.integer_or("head_dim", head_dim or hidden // heads, low=1),
        max_context_tokens=config.integer_or("max_position_embeddings", 0) or None,
        tied=config.flag("tie_word_embeddings", default=tied),
        dtype=word.removeprefix("torch."),
        fmt=model_dtype(word),
    )


# These shape the table's values, not its size.
_SCALING_KEYS = (
    "attention_factor",
    "attn_factor",
    "beta_fast",
    "beta_slow",
    "extrapolation_factor",
    "factor",
    "finetuned",
    "high_freq_factor",
    "long_factor",
    "long_mscale",
    "low_freq_factor",
    "mrope_interleaved",
    "mrope_section",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "rope_theta",
    "short_factor",
    "short_mscale",
    "truncate",
)


def rotary(config: Hyperparameters, dim: int) -> tuple[RotaryTable, ...]:
    """The table engines precompute: as long as the model, or as its scaling extends it.

    Scaling types that name their original length (yarn, llama3, longrope) already state the extended length in
    ``max_position_embeddings``; linear and dynamic ones multiply it.
    """
    positions = config.integer_or("max_position_embeddings", 0)
    scaling = config.child_or_none("rope_scaling") if isinstance(config.raw("rope_scaling"), dict) else None
    if scaling is not None:
        scaling.ignore(*_SCALING_KEYS)
        kind = scaling.text_or("rope_type", scaling.text_or("type", "default"))
        if kind in {"linear", "dynamic"}:
            positions = int(positions * scaling.number_or("factor", 1.0))
    return (RotaryTable(dim=dim, positions=positions),) if positions else ()


def decoder(  # noqa: PLR0913 - the outline of a model
    config: Hyperparameters,
    size: Widths,
    *,
    layer: Callable[[int], tuple[Layer, tuple[Tensor, ...]]],
    rotary_tables: tuple[RotaryTable, ...] = (),
    prefix: str = "model",
    table: str = "embed_tokens",
    final_norm: str = "norm",
    before: tuple[Tensor, ...] = (),
    after: tuple[Tensor, ...] = (),
    norm_bias: bool = False,
    head_bias: bool = False,
) -> Blueprint:
    """Embedding, ``layer(0)`` to ``layer(n - 1)``, final norm, head; ``before`` and ``after`` are what else the family has."""
    built = [layer(index) for index in range(size.layers)]
    tensors = [
        *before,
        *block.embedding(f"{prefix}.{table}", size.vocab, size.hidden, size.fmt),
        *(tensor for _, own in built for tensor in own),
        *block.norm(f"{prefix}.{final_norm}", None, size.hidden, size.fmt, bias=norm_bias),
        *block.head("lm_head", size.vocab, size.hidden, size.fmt, tied=size.tied, bias=head_bias),
        *after,
    ]
    classes = config.words("architectures") if config.has("architectures") else ()
    return Blueprint(
        architecture=Architecture(
            name=classes[0] if classes else config.text_or("model_type", ""),
            model_type=config.text_or("model_type", ""),
            class_name=classes[0] if classes else "",
            hidden_size=size.hidden,
            vocab_size=size.vocab,
            layers=tuple(outline for outline, _ in built),
            tied_embeddings=size.tied,
            max_context_tokens=size.max_context_tokens,
            dtype=size.dtype,
            rotary=rotary_tables,
        ),
        tensors=tuple(tensors),
    )
