"""MiniMax-M3, the text decoder: grouped-query attention that selects blocks of past tokens with an indexer."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._experts import Attending, Built, Mixture, dense, grouped, pre_norm, routed
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import FullAttention, Indexer
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace


def read(config: Hyperparameters) -> Blueprint:
    """The layers that neither route nor select are listed; the layout of the draft modules is not public, so they are left out."""
    size = widths(config, head_dim=128, dtype="bfloat16")
    config.must_be("attention_output_gate", False)
    config.must_be("use_qk_norm", True)
    config.must_be("qk_norm_type", "per_head")
    config.ignore("first_k_dense_replace", "partial_rotary_factor", "num_mtp_modules", "num_nextn_predict_layers")
    config.ignore("swiglu_alpha", "swiglu_limit", "use_gemma_norm", "use_routing_bias")
    mixture = _mixture(config)
    intermediate = config.integer("dense_intermediate_size")
    routes = _flags(config, "mlp_layer_types", "sparse", config, "moe_layer_freq", size.layers)
    sparse = config.child_or_none("sparse_attention_config") or config
    selects = _flags(config, "layer_types", "minimax_m3_sparse", sparse, "sparse_attention_freq", size.layers)
    indexer = _indexer(sparse)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, head_norms=True)
        return pre_norm(
            at,
            index,
            size,
            _selecting(f"{at}.self_attn", index, size, attending, indexer) if selects[index] else attending,
            routed(f"{at}.block_sparse_moe", index, size, mixture) if routes[index] else dense(f"{at}.mlp", index, size, intermediate),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, config.integer_or("rotary_dim", 64, low=1)))


def _mixture(config: Hyperparameters) -> Mixture:
    intermediate = config.first_integer("moe_intermediate_size", "intermediate_size")
    config.ignore("intermediate_size")
    return Mixture(
        experts=config.integer("num_local_experts"),
        per_token=config.integer("num_experts_per_tok"),
        intermediate=intermediate,
        shared=config.integer_or("shared_intermediate_size", intermediate) * config.integer_or("n_shared_experts", 1),
        names=block.NUMBERED,
    )


def _flags(config: Hyperparameters, words: str, word: str, other: Hyperparameters, numbers: str, layers: int) -> tuple[bool, ...]:
    """One yes or no for each layer, from the newer list of words or the published list of 0 and 1."""
    if config.has(words):
        return tuple(kind == word for kind in config.words(words, length=layers))
    return tuple(bool(number) for number in other.integers(numbers, length=layers))


def _indexer(config: Hyperparameters) -> Indexer:
    """Scores whole blocks of past tokens and takes the best; the published keys are in a group of their own."""
    config.must_be("use_sparse_attention", True)
    config.ignore("sparse_disable_index_value", "sparse_init_block", "sparse_local_block", "sparse_score_type", "index_local_blocks")
    blocks = config.first_integer("sparse_topk_blocks", "index_topk_blocks")
    return Indexer(
        heads=config.first_integer("sparse_num_index_heads", "index_n_heads"),
        key_dim=config.first_integer("sparse_index_dim", "index_head_dim"),
        selected_tokens=blocks * config.first_integer("sparse_block_size", "index_block_size"),
    )


def _selecting(at: str, index: int, size: Widths, attending: Attending, indexer: Indexer) -> Attending:
    """The same attention with the indexer's projections and norms."""
    mixer, tensors = attending
    width = indexer.key_dim
    return replace(mixer, indexer=indexer) if isinstance(mixer, FullAttention) else mixer, (
        *tensors,
        *block.linear(f"{at}.index_q_proj", Role.INDEXER, index, indexer.heads * width, size.hidden, size.fmt),
        *block.linear(f"{at}.index_k_proj", Role.INDEXER, index, width, size.hidden, size.fmt),
        *block.norm(f"{at}.index_q_norm", index, width, size.fmt),
        *block.norm(f"{at}.index_k_norm", index, width, size.fmt),
    )


FAMILY = Family(model_types=("minimax_m3",), read=read, title="MiniMax M3")
