"""Qwen3.8-Flash-Next: Qwen3.5's layers with sparse attention, several residual streams, and hashed n-gram tables."""

from ullage.architectures import _gated_delta as net
from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._drafts import as_draft
from ullage.architectures._experts import Attending, Built
from ullage.architectures._ngrams import ngram_layer, ngrams_of
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.architecture import FullAttention, Indexer, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class _Streams:
    """``count`` residual streams, mixed through a bottleneck of ``rank`` before every block."""

    count: int
    rank: int


def read(config: Hyperparameters) -> Blueprint:
    """A decoder alone, or one beside a vision tower."""
    return net.beside_tower(config, decode)


def decode(config: Hyperparameters) -> Blueprint:
    """Full attention layers carry the sparse indexer; the listed layers, counted from 1, read an n-gram table."""
    config.ignore("output_gate_type", "seed")
    size = widths(config, kv_heads=2, head_dim=256, vocab=248320, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    streams = _Streams(count=config.integer_or("hc_count", 4, low=1), rank=config.integer_or("hc_lowrank", 320, low=1))
    delta = net.gated_delta(config, fused=False)
    each = net.kinds(config, size.layers, indexed_attention="full", qwen_sparse_attention="full")
    experts, indexer = net.gated_experts_of(config, experts=512, per_token=10), _indexer_of(config)
    tables = ngrams_of(config, size.hidden)

    def built(at: str, index: int, kind: str) -> Built:
        mixer, mixing = (
            net.delta_layer(f"{at}.linear_attn", index, size, delta)
            if kind == "linear"
            else _sparse(f"{at}.self_attn", index, size, indexer, bias=bias)
        )
        feed_forward, mlp = net.gated_mixture(f"{at}.mlp", index, size, experts)
        return Layer(mixers=(mixer,), feed_forward=feed_forward), (
            *mixing,
            *mlp,
            *_streams(f"{at}.attn_hyper_connection", index, size, streams),
            *_streams(f"{at}.mlp_hyper_connection", index, size, streams),
        )

    def layer(index: int) -> Built:
        outline, tensors = built(f"model.layers.{index}", index, each[index])
        if index not in tables:
            return outline, tensors
        kept, own = ngram_layer(f"model.layers.{index}.ple", index, size, tables[index], streams=streams.count)
        return replace(outline, mixers=(*outline.mixers, kept)), (*tensors, *own)

    draft = _draft(size, streams, built("mtp.layers.0", 0, "full")[1]) if _draft_layers(config) else ()
    return decoder(
        config,
        size,
        layer=layer,
        final_norm=None,
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.25), size.positions),
        after=(*_streams("model.hyper_connection_mixer", None, size, streams, injects=False), *draft),
    )


def _indexer_of(config: Hyperparameters) -> Indexer:
    """Keys are averaged over ``indexer_compress_ratio`` tokens when scored; what is kept is one key for every token."""
    config.must_be("indexer_kv_heads", 1)
    config.ignore("indexer_compress_ratio")
    return Indexer(
        heads=config.integer("indexer_n_heads"),
        key_dim=config.integer("indexer_head_dim"),
        selected_tokens=config.integer("indexer_budget"),
    )


def _sparse(at: str, index: int, size: Widths, indexer: Indexer, *, bias: bool) -> Attending:
    mixer, tensors = net.gated_attention(at, index, size, bias=bias)
    if not isinstance(mixer, FullAttention):
        raise TypeError(mixer)
    rows = (indexer.heads + 1) * indexer.key_dim
    return replace(mixer, indexer=indexer), (
        *tensors,
        *block.linear(f"{at}.indexer.index_qk_proj", Role.INDEXER, index, rows, size.hidden, size.fmt),
        *block.norm(f"{at}.indexer.q_layernorm", index, indexer.key_dim, size.fmt),
        *block.norm(f"{at}.indexer.k_layernorm", index, indexer.key_dim, size.fmt),
    )


def _streams(at: str, index: int | None, size: Widths, streams: _Streams, *, injects: bool = True) -> tuple[Tensor, ...]:
    """Joins the streams before a block; ``injects`` says that it also spreads the block's result over them."""
    width = streams.count * size.hidden
    return (
        *block.norm(f"{at}.hc_norm", index, width, size.fmt),
        *block.linear(f"{at}.input_mix_weight_down", Role.OTHER, index, streams.rank, width, size.fmt),
        *block.linear(f"{at}.input_mix_weight_up", Role.OTHER, index, width, streams.rank, size.fmt),
        *(block.linear(f"{at}.block_inject_weight", Role.OTHER, index, streams.count, width, size.fmt) if injects else ()),
    )


def _draft_layers(config: Hyperparameters) -> int:
    nested = config.child_or_none("mtp")
    if nested is not None:
        nested.ignore("layer_types", "use_dedicated_embeddings")
        return nested.integer_or("num_hidden_layers", 0)
    config.ignore("mtp_use_dedicated_embeddings")
    config.must_be("mtp_num_hidden_layers", 0, 1)
    return config.integer_or("mtp_num_hidden_layers", 0)


def _draft(size: Widths, streams: _Streams, layer: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One sparse attention layer, with projections of embedding and streams apart, and a mixer of its own."""
    return as_draft(
        (
            *block.linear("mtp.fc_embedding", Role.OTHER, None, size.hidden, size.hidden, size.fmt),
            *block.linear("mtp.fc_hidden", Role.OTHER, None, size.hidden, size.hidden, size.fmt),
            *block.norm("mtp.pre_fc_norm_embedding", None, size.hidden, size.fmt),
            *block.norm("mtp.pre_fc_norm_hidden", None, streams.count * size.hidden, size.fmt),
            *_streams("mtp.hyper_connection_mixer", None, size, streams, injects=False),
            *layer,
        )
    )


FAMILY = Family(model_types=("qwen4_exp", "qwen4_exp_text"), read=read, title="Qwen3.8-Flash-Next")
