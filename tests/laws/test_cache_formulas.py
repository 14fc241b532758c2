"""Laws of what a sequence keeps."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.catalog.tensor_formats import BF16, FP8_E4M3
from ullage.domain.architecture import (
    Architecture,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    Indexer,
    LatentAttention,
    Layer,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.checkpoint import TensorFormat
from ullage.formulas.cache import bytes_per_token, fixed_bytes, growth_bytes_per_token, mixer_bytes, sequence_bytes

Q4 = TensorFormat(name="q4", block_elements=32, block_bytes=18)
sizes = st.integers(1, 16)
dims = st.sampled_from([64, 128, 192, 256])
tokens = st.integers(0, 5000)
formats = st.sampled_from([BF16, FP8_E4M3, Q4])
indexers = st.none() | st.builds(Indexer, heads=sizes, key_dim=dims, selected_tokens=st.just(2048))
windows = st.integers(1, 4096)
mixers: st.SearchStrategy[Mixer] = st.one_of(
    st.builds(FullAttention, query_heads=sizes, kv_heads=sizes, key_dim=dims, value_dim=dims, dual_chunk=st.none()),
    st.builds(SlidingAttention, query_heads=sizes, kv_heads=sizes, key_dim=dims, value_dim=dims, window_tokens=windows),
    st.builds(ChunkedAttention, query_heads=sizes, kv_heads=sizes, key_dim=dims, value_dim=dims, chunk_tokens=windows),
    st.builds(LatentAttention, query_heads=sizes, latent_dim=dims, rope_dim=dims, nope_dim=dims, value_dim=dims, indexer=indexers),
    st.builds(
        CompressedAttention,
        query_heads=sizes,
        key_dim=dims,
        rope_dim=dims,
        window_tokens=windows,
        ratio=st.sampled_from([0, 4, 128]),
        indexer=indexers,
    ),
    st.builds(CrossAttention, query_heads=sizes, kv_heads=sizes, key_dim=dims, value_dim=dims, source_tokens=windows),
    st.builds(Recurrent, kind=st.just("mamba"), heads=sizes, conv_elements=windows, state_elements=windows, inner_dim=dims),
    st.builds(SharedCache, query_heads=sizes, key_dim=dims, value_dim=dims, source_layer=st.just(0)),
)


def model(*layers: tuple[Mixer, ...], decoder: bool = True) -> Architecture:
    """A model with these mixers."""
    return Architecture(
        name="m",
        model_type="m",
        class_name="M",
        hidden_size=64,
        vocab_size=100,
        layers=tuple(Layer(mixers=own, feed_forward=None) for own in layers),
        tied_embeddings=False,
        max_context_tokens=4096,
        dtype="bfloat16",
        is_decoder=decoder,
    )


@given(mixers, tokens, tokens, formats)
def test_a_longer_sequence_never_keeps_less(mixer: Mixer, a: int, b: int, fmt: TensorFormat) -> None:
    short, long = sorted((a, b))
    assert mixer_bytes(mixer, tokens=short, fmt=fmt) <= mixer_bytes(mixer, tokens=long, fmt=fmt)


@given(sizes, dims, dims, windows, tokens, formats)
def test_a_window_or_a_chunk_never_keeps_more_than_full_attention(
    heads: int, key: int, value: int, window: int, count: int, fmt: TensorFormat
) -> None:
    full = FullAttention(query_heads=heads, kv_heads=heads, key_dim=key, value_dim=value)
    sliding = SlidingAttention(query_heads=heads, kv_heads=heads, key_dim=key, value_dim=value, window_tokens=window)
    chunked = ChunkedAttention(query_heads=heads, kv_heads=heads, key_dim=key, value_dim=value, chunk_tokens=window)
    most = mixer_bytes(full, tokens=count, fmt=fmt)
    assert mixer_bytes(sliding, tokens=count, fmt=fmt) == mixer_bytes(chunked, tokens=count, fmt=fmt) <= most
    if count <= window:
        assert mixer_bytes(sliding, tokens=count, fmt=fmt) == most


@given(mixers, tokens)
def test_a_narrower_format_never_keeps_more(mixer: Mixer, count: int) -> None:
    wide, narrow, narrowest = (mixer_bytes(mixer, tokens=count, fmt=fmt) for fmt in (BF16, FP8_E4M3, Q4))
    assert wide >= narrow
    if not isinstance(mixer, Recurrent):  # the state of a test recurrent layer may not fill whole blocks
        assert narrow >= narrowest


@given(mixers, mixers, tokens, formats)
def test_layers_and_mixers_add_up(one: Mixer, two: Mixer, count: int, fmt: TensorFormat) -> None:
    apart = sum(sequence_bytes(model((mixer,)), tokens=count, fmt=fmt) for mixer in (one, two))
    assert sequence_bytes(model((one,), (two,)), tokens=count, fmt=fmt) == apart
    assert sequence_bytes(model((one, two)), tokens=count, fmt=fmt) == apart


@given(st.lists(mixers, min_size=1, max_size=4), tokens, formats)
def test_tokens_times_bytes_per_token_bounds_a_sequence_from_above(some: list[Mixer], count: int, fmt: TensorFormat) -> None:
    whole = model(*((mixer,) for mixer in some))
    upper = fixed_bytes(whole, fmt=fmt) + count * bytes_per_token(whole, fmt)
    assert sequence_bytes(whole, tokens=count, fmt=fmt) <= upper
    assert growth_bytes_per_token(whole, fmt) <= bytes_per_token(whole, fmt)


@given(mixers, tokens)
def test_an_encoder_keeps_nothing(mixer: Mixer, count: int) -> None:
    encoder = model((mixer,), decoder=False)
    assert sequence_bytes(encoder, tokens=count, fmt=BF16) == bytes_per_token(encoder, BF16) == growth_bytes_per_token(encoder, BF16) == 0


def test_llama_2_70b_keeps_320_kib_per_token() -> None:
    layer = (FullAttention(query_heads=64, kv_heads=8, key_dim=128, value_dim=128),)
    assert bytes_per_token(model(*[layer] * 80), BF16) == 327_680


def test_deepseek_coder_v2_keeps_69120_bytes_per_token_of_latent_cache() -> None:
    layer = (LatentAttention(query_heads=128, latent_dim=512, rope_dim=64, nope_dim=128, value_dim=128),)
    assert bytes_per_token(model(*[layer] * 60), BF16) == 69_120
