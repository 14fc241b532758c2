"""What the plain decoder families share: the outline of a Llama-shaped model, filled in by each family's file."""

from collections.abc import Callable

from ullage.architectures._rotary import context_tokens, rotary
from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import Architecture, Layer, RotaryTable
from ullage.domain.checkpoint import Tensor, TensorFormat
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

__all__ = ["GPT", "Spelling", "Widths", "decoder", "rotary", "widths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The numbers every decoder configuration has; ``positions`` is the length as stated, before any scaling, or 0."""

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
    positions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """The keys under which a family writes its widths; the first one present is read."""

    hidden: tuple[str, ...] = ("hidden_size",)
    layers: tuple[str, ...] = ("num_hidden_layers",)
    heads: tuple[str, ...] = ("num_attention_heads",)
    kv_heads: tuple[str, ...] = ("num_key_value_heads",)
    head_dim: tuple[str, ...] = ("head_dim",)
    vocab: tuple[str, ...] = ("vocab_size",)
    positions: tuple[str, ...] = ("max_position_embeddings",)


GPT = Spelling(
    hidden=("n_embd", "hidden_size"),
    layers=("n_layer", "num_hidden_layers"),
    heads=("n_head", "num_attention_heads"),
    positions=("n_positions", "n_ctx", "max_position_embeddings"),
)


def _first_or(config: Hyperparameters, keys: tuple[str, ...], default: int | None) -> int:
    config.ignore(*keys)  # other spellings of the same number
    absent = not any(config.has(key) for key in keys)
    return default if absent and default is not None else config.first_integer(*keys)


def widths(  # noqa: PLR0913 - the defaults are the family's, one for each number
    config: Hyperparameters,
    *,
    tied: bool = False,
    head_dim: int | None = None,
    dtype: str = "float32",
    kv_heads: int | None = None,
    vocab: int | None = None,
    layers: int | None = None,
    positions: int = 0,
    context_is_scaled: bool = False,
    spelling: Spelling = Spelling(),
) -> Widths:
    """Read them in the family's spelling; the other arguments are the family's own defaults.

    Without ``kv_heads`` every query head has its own keys. ``context_is_scaled`` says that the stated length already counts
    what a factor of the rotary scaling adds.
    """
    hidden = _first_or(config, spelling.hidden, None)
    heads = _first_or(config, spelling.heads, None)
    word = config.text_or("torch_dtype", config.text_or("dtype", dtype))
    stated = _first_or(config, spelling.positions, positions)
    own = _first_or(config, spelling.head_dim, head_dim or hidden // heads)
    if not own:
        raise MalformedFileError(f"{spelling.heads[0]} is {heads}, more than {spelling.hidden[0]}, which is {hidden}: no head has a width")
    return Widths(
        hidden=hidden,
        layers=_first_or(config, spelling.layers, layers),
        vocab=_first_or(config, spelling.vocab, vocab),
        query_heads=heads,
        kv_heads=_first_or(config, spelling.kv_heads, kv_heads or heads),
        head_dim=own,
        max_context_tokens=(stated if context_is_scaled else context_tokens(config, stated)) or None,
        tied=config.flag("tie_word_embeddings", default=tied),
        dtype=word.removeprefix("torch."),
        fmt=model_dtype(word),
        positions=stated,
    )


def decoder(  # noqa: PLR0913 - the outline of a model
    config: Hyperparameters,
    size: Widths,
    *,
    layer: Callable[[int], tuple[Layer, tuple[Tensor, ...]]],
    rotary_tables: tuple[RotaryTable, ...] = (),
    prefix: str = "model",
    table: str = "embed_tokens",
    final_norm: str | None = "norm",
    head_name: str = "lm_head",
    before: tuple[Tensor, ...] = (),
    after: tuple[Tensor, ...] = (),
    norm_bias: bool = False,
    head_bias: bool = False,
    is_decoder: bool = True,
) -> Blueprint:
    """Embedding, ``layer(0)`` to ``layer(n - 1)``, final norm, head; ``before`` and ``after`` are what else the family has."""
    built = [layer(index) for index in range(size.layers)]
    inside = f"{prefix}." if prefix else ""
    tensors = [
        *before,
        *block.embedding(f"{inside}{table}", size.vocab, size.hidden, size.fmt),
        *(tensor for _, own in built for tensor in own),
        *(block.norm(f"{inside}{final_norm}", None, size.hidden, size.fmt, bias=norm_bias) if final_norm else ()),
        *block.head(head_name, size.vocab, size.hidden, size.fmt, tied=size.tied, bias=head_bias),
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
            is_decoder=is_decoder,
        ),
        tensors=tuple(tensors),
    )
