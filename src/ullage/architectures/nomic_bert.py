"""Nomic Embed: a BERT encoder with rotary positions and a gated MLP, that keeps no cache."""

from ullage.architectures._decoder import GPT, widths
from ullage.architectures._dense import fused_qkv, norms, output, stack
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace


def read(config: Hyperparameters) -> Blueprint:
    """fc12 gates, fc11 goes up; the vocabulary is padded in the file already."""
    size = replace(widths(config, positions=2048, spelling=GPT), tied=True)
    width = config.first_integer("n_inner", "intermediate_size")
    qkv_bias, up_bias, down_bias = (config.flag(key, default=False) for key in ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"))
    config.must_be("activation_function", "swiglu")
    config.ignore("prenorm")

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.attn.Wqkv", index, size, bias=qkv_bias),
            *output(f"{at}.attn.out_proj", index, size, bias=qkv_bias),
            *block.linear(f"{at}.mlp.fc11", Role.UP, index, width, size.hidden, size.fmt, bias=up_bias),
            *block.linear(f"{at}.mlp.fc12", Role.GATE, index, width, size.hidden, size.fmt, bias=up_bias),
            *block.linear(f"{at}.mlp.fc2", Role.DOWN, index, size.hidden, width, size.fmt, bias=down_bias),
            *norms(at, ("norm1", "norm2"), index, size, bias=True),
        )

    types = (config.integer_or("type_vocab_size", 2, low=1), size.hidden)
    model = stack(
        config,
        size,
        "encoder.layers",
        parts,
        DenseFeedForward(intermediate=width),
        rotary_tables=rotary(config, int(size.head_dim * config.number_or("rotary_emb_fraction", 1.0)), size.positions),
        prefix="",
        table="embeddings.word_embeddings",
        final_norm="emb_ln",
        norm_bias=True,
        before=(block.weight("embeddings.token_type_embeddings.weight", Role.POSITION, None, types, size.fmt),),
    )
    return replace(model, architecture=replace(model.architecture, is_decoder=False))


FAMILY = Family(model_types=("nomic_bert",), read=read, title="Nomic Embed")
