"""XLM-RoBERTa: an encoder that keeps no cache, with the head its class has on top."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import full
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block

_PARTS = (("query", Role.Q), ("key", Role.K), ("value", Role.V))
_BARE = "XLMRobertaModel"


def _labels(config: Hyperparameters) -> int:
    """One for each name, two where nothing is said."""
    names = config.raw("id2label")
    return config.integer_or("num_labels", len(names) if isinstance(names, dict) else 2)


def _head(config: Hyperparameters, size: Widths) -> tuple[str, tuple[Tensor, ...]]:
    """How the encoder is called below the class's head, and the head."""
    kind = next(iter(config.words("architectures") if config.has("architectures") else ()), _BARE)
    hidden, fmt = size.hidden, size.fmt
    match kind:
        case "XLMRobertaModel":
            return "", block.linear("pooler.dense", Role.OTHER, None, hidden, hidden, fmt, bias=True)
        case "XLMRobertaForSequenceClassification":
            return "roberta.", (
                *block.linear("classifier.dense", Role.OTHER, None, hidden, hidden, fmt, bias=True),
                *block.linear("classifier.out_proj", Role.OTHER, None, _labels(config), hidden, fmt, bias=True),
            )
        case "XLMRobertaForMaskedLM":
            return "roberta.", (
                *block.linear("lm_head.dense", Role.OTHER, None, hidden, hidden, fmt, bias=True),
                *block.norm("lm_head.layer_norm", None, hidden, fmt, bias=True),
                Tensor(name="lm_head.bias", role=Role.HEAD, layer=None, shape=(size.vocab,), format=fmt, part=Part.BIAS),
            )
        case _:
            raise UnsupportedModelError(
                f"architectures names {kind!r}; of this family the bare model, sequence classification and masked LM are known"
            )


def _layer(at: str, index: int, size: Widths, intermediate: int) -> tuple[Tensor, ...]:
    """Norms stand behind attention and behind the MLP."""
    hidden, fmt = size.hidden, size.fmt
    return (
        *(
            tensor
            for name, role in _PARTS
            for tensor in block.linear(f"{at}.attention.self.{name}", role, index, hidden, hidden, fmt, bias=True)
        ),
        *block.linear(f"{at}.attention.output.dense", Role.O, index, hidden, hidden, fmt, bias=True),
        *block.norm(f"{at}.attention.output.LayerNorm", index, hidden, fmt, bias=True),
        *block.mlp(f"{at}.intermediate.dense", f"{at}.output.dense", index, fmt, hidden=hidden, intermediate=intermediate, bias=True),
        *block.norm(f"{at}.output.LayerNorm", index, hidden, fmt, bias=True),
    )


def read(config: Hyperparameters) -> Blueprint:
    """Positions are learned, the first two of the table unused."""
    size = widths(config, tied=True, positions=512)
    intermediate = config.integer("intermediate_size")
    at, head = _head(config, size)
    tables = {"position_embeddings": size.positions, "token_type_embeddings": config.integer_or("type_vocab_size", 2, low=1)}
    below = (
        *(
            block.weight(f"{at}embeddings.{name}.weight", Role.POSITION, None, (rows, size.hidden), size.fmt)
            for name, rows in tables.items()
        ),
        *block.norm(f"{at}embeddings.LayerNorm", None, size.hidden, size.fmt, bias=True),
    )
    outline = Layer(mixers=(full(size),), feed_forward=DenseFeedForward(intermediate=intermediate, gated=False))

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        return outline, _layer(f"{at}encoder.layer.{index}", index, size, intermediate)

    return decoder(
        config,
        size,
        layer=layer,
        prefix=f"{at}embeddings",
        table="word_embeddings",
        final_norm=None,
        before=below,
        after=head,
        is_decoder=False,
    )


FAMILY = Family(model_types=("xlm-roberta",), read=read, title="XLM-RoBERTa encoders, BGE-M3")
