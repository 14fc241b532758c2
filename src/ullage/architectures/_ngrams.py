"""Tables of hashed n-grams that a layer looks up beside its hidden state (Qwen3.8-Flash-Next's per-layer embedding)."""

from collections.abc import Mapping

from ullage.architectures._decoder import Widths
from ullage.architectures._experts import Attending
from ullage.architectures._recurrent import convolution
from ullage.domain.architecture import Recurrent
from ullage.domain.checkpoint import Role
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

MOST_TABLES = 4096  # each costs a search for a prime; published models have 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ngrams:
    """One layer's table: ``rows`` of ``row_width``, stored in ``parts``; a token reads ``width`` elements of it."""

    rows: int
    row_width: int
    width: int
    parts: int
    kernel: int
    dilation: int


def ngrams_of(config: Hyperparameters, hidden: int) -> Mapping[int, Ngrams]:
    """The tables by layer, counted from 0; the file counts from 1. Raises MalformedFileError when a width does not divide.

    Every n-gram length has several hashes, and every hash its own prime number of rows: the primes at and after
    ``ngram_vocab_size_base``, in order over all layers.
    """
    longest = config.integer_or("ngram_size", 3, low=2)
    hashes = (longest - 1) * config.integer_or("heads_per_ngram", 8, low=1)
    width = config.integer_or("ple_embed_dim", hidden, low=1)
    base = config.integer_or("ngram_vocab_size_base", 20_000_000, low=1)
    multiple = config.integer_or("make_ngram_vocab_size_divisible_by", 128, low=1)
    parts = config.integer_or("split_ngram_parts", 512, low=1)
    kernel = config.integer_or("ple_conv_kernel_size", 4, low=1)
    layers = sorted(set(config.integers("ple_layer_ids", low=1))) if config.has("ple_layer_ids") else []
    if width % hashes or hashes * len(layers) > MOST_TABLES:
        raise MalformedFileError(
            f"ple_embed_dim is {width} and has {hashes} hashes in each of {len(layers)} layers; "
            f"the hashes must divide it and be {MOST_TABLES} at most"
        )
    sizes = primes_from(base, hashes * len(layers))
    return {
        layer - 1: Ngrams(
            rows=-(-sum(sizes[turn * hashes : (turn + 1) * hashes]) // multiple) * multiple,
            row_width=width // hashes,
            width=width,
            parts=parts,
            kernel=kernel,
            dilation=longest,
        )
        for turn, layer in enumerate(layers)
    }


def ngram_layer(at: str, index: int, size: Widths, table: Ngrams, *, streams: int) -> Attending:
    """The table, its projections to every stream, and a dilated convolution whose last inputs a sequence keeps."""
    wide = streams * size.hidden
    # Stored in equal parts where that is possible; a part is a copy to us, as an expert is.
    parts = table.parts if table.rows % table.parts == 0 else 1
    named = f"{at}.ple_embedding.ngram_embedding"
    kept = Recurrent(
        kind="ngram_convolution", heads=1, conv_elements=(table.kernel - 1) * table.dilation * wide, state_elements=0, inner_dim=wide
    )
    return kept, (
        block.weight(
            f"{named}.shard_{{expert}}.weight" if parts > 1 else f"{named}.weight",
            Role.EMBEDDING,
            index,
            (table.rows // parts, table.row_width),
            size.fmt,
            copies=parts,
        ),
        *block.linear(f"{at}.key_proj", Role.OTHER, index, wide, table.width, size.fmt),
        *block.linear(f"{at}.value_proj", Role.OTHER, index, size.hidden, table.width, size.fmt),
        *(tensor for name in ("norm_key", "norm_query", "norm_conv") for tensor in block.norm(f"{at}.{name}", index, wide, size.fmt)),
        *convolution(f"{at}.conv1d", index, size.fmt, channels=wide, kernel=table.kernel, bias=False),
    )


def primes_from(start: int, count: int) -> tuple[int, ...]:
    """The first ``count`` primes not below ``start``."""
    found: list[int] = []
    number = start
    while len(found) < count:
        if _is_prime(number):
            found.append(number)
        number += 1
    return tuple(found)


# Miller and Rabin's test with these bases is exact below 3.3e24 (Sorenson and Webster, arXiv 1509.00864).
_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


def _is_prime(number: int) -> bool:
    if number < 2 or any(number % base == 0 for base in _BASES):  # noqa: PLR2004 - the first prime
        return number in _BASES
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, pow(base, odd, number), twos) for base in _BASES)


def _passes(number: int, power: int, twos: int) -> bool:
    if power in {1, number - 1}:
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
