"""DeepSeek-V4: one shared key per token, compressed where it is old, and several residual streams (hyper-connections)."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._drafts import as_draft
from ullage.architectures._experts import Built, Mixture, routed
from ullage.architectures._mla import indexer_of, routing
from ullage.architectures._rotary import rotary
from ullage.catalog.tensor_formats import F32
from ullage.domain.architecture import CompressedAttention, Indexer, Layer, RotaryTable
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

SELECTED = 4  # layers of this ratio compress overlapping spans and select among the entries with an indexer
RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": SELECTED, "heavily_compressed_attention": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    size: Widths
    mixture: Mixture
    indexer: Indexer
    query_latent: int
    rope: int
    window: int
    groups: int
    group_width: int
    streams: int


def read(config: Hyperparameters) -> Blueprint:
    """Flat, or inside ``text_config`` as V4.1 has it."""
    text = config.child("text_config") if config.has("text_config") else config
    size = widths(text, dtype="bfloat16")
    own = _numbers(text, size)
    drafts = text.integer_or("num_nextn_predict_layers", 0)
    ratios = _ratios(text, size.layers, drafts)

    def layer(index: int) -> Built:
        return _layer(f"layers.{index}", index, own, ratios[index])

    return decoder(
        config,
        size,
        layer=layer,
        rotary_tables=_tables(text, own, ratios[: size.layers]),
        prefix="",
        table="embed",
        head_name="head",
        after=(*_collapse("", own), *(tensor for stage in range(drafts) for tensor in _draft(stage, own, ratios[size.layers + stage]))),
    )


def _numbers(config: Hyperparameters, size: Widths) -> _Numbers:
    config.must_be("attention_bias", False)
    config.must_be("num_key_value_heads", 1)
    # What the experts are stored in is read with the quantisation; hash layers differ by a table of token ids, which is no parameter.
    config.ignore(
        "expert_dtype", "hc_eps", "hc_sinkhorn_iters", "num_hash_layers", "mlp_layer_types", "swiglu_limit", "compress_rope_theta"
    )
    mixture = routing(config)
    return _Numbers(
        size=size,
        mixture=Mixture(
            experts=mixture.experts,
            per_token=mixture.per_token,
            intermediate=mixture.intermediate,
            shared=mixture.shared,
            names=block.NUMBERED,
        ),
        indexer=indexer_of(config),
        query_latent=config.integer("q_lora_rank"),
        rope=config.integer("qk_rope_head_dim"),
        window=config.integer("sliding_window"),
        groups=config.integer("o_groups"),
        group_width=config.integer("o_lora_rank"),
        streams=config.integer("hc_mult"),
    )


def _ratios(config: Hyperparameters, layers: int, drafts: int) -> tuple[int, ...]:
    """How many tokens one older entry stands for, layer by layer, drafts after them; 0 keeps the window only."""
    if config.has("layer_types") and not config.has("compress_ratios"):
        config.must_be("compress_rates", {kind: ratio for kind, ratio in RATIOS.items() if ratio})
        listed = tuple(RATIOS.get(kind, -1) for kind in config.words("layer_types", length=layers))
    else:
        config.integers("compress_ratios", length=layers)
        listed = config.integers("compress_ratios")
    unknown = sorted(set(listed) - set(RATIOS.values()))
    if unknown:
        raise UnsupportedModelError(f"a layer compresses by {unknown[0]}; only {sorted(RATIOS.values())} are known for this family")
    return (*listed, *(0 for _ in range(layers + drafts - len(listed))))


def _tables(config: Hyperparameters, own: _Numbers, ratios: tuple[int, ...]) -> tuple[RotaryTable, ...]:
    """One for the layers with a window only, one with its own base and scaling for those that compress."""
    table = rotary(config, own.rope)
    return table * len({bool(ratio) for ratio in ratios})


def _layer(at: str, index: int, own: _Numbers, ratio: int) -> Built:
    size = own.size
    feed_forward, experts = routed(f"{at}.ffn", index, size, own.mixture)
    mixer = CompressedAttention(
        query_heads=size.query_heads,
        key_dim=size.head_dim,
        rope_dim=own.rope,
        window_tokens=own.window,
        ratio=ratio,
        indexer=own.indexer if ratio == SELECTED else None,
    )
    return Layer(mixers=(mixer,), feed_forward=feed_forward), (
        *_attention(f"{at}.attn", index, own, ratio),
        *experts,
        *block.norm(f"{at}.attn_norm", index, size.hidden, size.fmt),
        *block.norm(f"{at}.ffn_norm", index, size.hidden, size.fmt),
        *_connection(f"{at}.hc_attn", index, own),
        *_connection(f"{at}.hc_ffn", index, own),
    )


def _attention(at: str, index: int, own: _Numbers, ratio: int) -> tuple[Tensor, ...]:
    """Queries through a latent, one key that is its own value, and an output projected in groups of heads."""
    size, fmt = own.size, own.size.fmt
    heads = size.query_heads * size.head_dim
    mixed = own.groups * own.group_width
    return (
        *block.linear(f"{at}.wq_a", Role.Q_A, index, own.query_latent, size.hidden, fmt),
        *block.norm(f"{at}.q_norm", index, own.query_latent, fmt),
        *block.linear(f"{at}.wq_b", Role.Q_B, index, heads, own.query_latent, fmt),
        *block.linear(f"{at}.wkv", Role.KV_A, index, size.head_dim, size.hidden, fmt),
        *block.norm(f"{at}.kv_norm", index, size.head_dim, fmt),
        *block.linear(f"{at}.wo_a", Role.O, index, mixed, heads // own.groups, fmt),
        *block.linear(f"{at}.wo_b", Role.O, index, size.hidden, mixed, fmt),
        block.weight(f"{at}.attn_sink", Role.ATTENTION_OTHER, index, (size.query_heads,), F32),
        *(_compressor(f"{at}.compressor", index, own, ratio, size.head_dim) if ratio else ()),
        *(_indexer(f"{at}.indexer", index, own, ratio) if ratio == SELECTED else ()),
    )


def _compressor(at: str, index: int, own: _Numbers, ratio: int, width: int) -> tuple[Tensor, ...]:
    """Gated pooling of ``ratio`` tokens into one entry. Published fp8 and fp4 files keep it in the model's dtype; no rank divides it."""
    wide = width * (2 if ratio == SELECTED else 1)
    return (
        *block.linear(f"{at}.wkv", Role.OTHER, index, wide, own.size.hidden, own.size.fmt),
        *block.linear(f"{at}.wgate", Role.OTHER, index, wide, own.size.hidden, own.size.fmt),
        block.weight(f"{at}.ape", Role.OTHER, index, (ratio, wide), F32),
        *block.norm(f"{at}.norm", index, width, own.size.fmt),
    )


def _indexer(at: str, index: int, own: _Numbers, ratio: int) -> tuple[Tensor, ...]:
    heads, width = own.indexer.heads, own.indexer.key_dim
    return (
        *block.linear(f"{at}.wq_b", Role.INDEXER, index, heads * width, own.query_latent, own.size.fmt),
        *block.linear(f"{at}.weights_proj", Role.OTHER, index, heads, own.size.hidden, own.size.fmt),
        *_compressor(f"{at}.compressor", index, own, ratio, width),
    )


def _connection(at: str, index: int, own: _Numbers) -> tuple[Tensor, ...]:
    """What reads, mixes and writes the residual streams around one block: n in, n out, n x n between."""
    rows = own.streams * (2 + own.streams)
    return (
        block.weight(f"{at}_fn", Role.OTHER, index, (rows, own.streams * own.size.hidden), F32),
        block.weight(f"{at}_base", Role.OTHER, index, (rows,), F32),
        block.weight(f"{at}_scale", Role.OTHER, index, (3,), F32),
    )


def _collapse(at: str, own: _Numbers) -> tuple[Tensor, ...]:
    """The streams become one before the head."""
    return (
        block.weight(f"{at}hc_head_fn", Role.OTHER, None, (own.streams, own.streams * own.size.hidden), F32),
        block.weight(f"{at}hc_head_base", Role.OTHER, None, (own.streams,), F32),
        block.weight(f"{at}hc_head_scale", Role.OTHER, None, (1,), F32),
    )


def _draft(stage: int, own: _Numbers, ratio: int) -> tuple[Tensor, ...]:
    """A whole layer, a projection of each input, and its own collapse; token table and head are the model's."""
    at, size = f"mtp.{stage}", own.size
    return as_draft(
        (
            *_layer(at, stage, own, ratio)[1],
            *(tensor for name in ("enorm", "hnorm", "norm") for tensor in block.norm(f"{at}.{name}", None, size.hidden, size.fmt)),
            *block.linear(f"{at}.e_proj", Role.OTHER, None, size.hidden, size.hidden, size.fmt),
            *block.linear(f"{at}.h_proj", Role.OTHER, None, size.hidden, size.hidden, size.fmt),
            *_collapse(f"{at}.", own),
        )
    )


FAMILY = Family(model_types=("deepseek_v4", "deepseek_ref"), read=read, title="DeepSeek V4")
