"""Dual chunk attention against its definition, written out densely in float64 inside the same model."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import dense_reference
from tests.runtime.engines import words
from tests.runtime.stepping import Stepper
from tests.runtime.tiny import TINY_CONFIGS, random_tensors, tiny_model

from ullage.errors import UnsupportedModelError
from ullage.frozen import replace
from ullage.runtime.load import Loaded, load

EXACT = 2e-5
CONFIG = {**TINY_CONFIGS["qwen2_dual_chunk"], "num_hidden_layers": 2}


def shaped(chunk: int, local: int, original: int) -> dict[str, Any]:
    stated = {"chunk_size": chunk, "local_size": local, "original_max_position_embeddings": original, "sparse_attention_enabled": False}
    return {**CONFIG, "dual_chunk_attention_config": stated}


@cache
def loaded(chunk: int, local: int, original: int) -> Loaded:
    return load(str(tiny_model(Path(mkdtemp()), shaped(chunk, local, original))), dtype=torch.float32, device=torch.device("cpu"))


@cache
def tensors() -> dict[str, torch.Tensor]:
    return random_tensors(CONFIG)


def dense(shape: tuple[int, int, int], tokens: Sequence[int], prompt: int) -> torch.Tensor:
    dual = loaded(*shape).architecture.dual_chunk
    lengths = [max(prompt, at + 1) for at in range(len(tokens))]
    return dense_reference.logits(CONFIG, tensors(), tokens, dual=dual, lengths=lengths)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest error of a logit, relative to the largest logit of its row."""
    worst = (found.double() - expected).abs().amax(-1) / expected.abs().amax(-1)
    return float(worst.max())


SHAPES = st.tuples(st.integers(3, 48), st.integers(1, 40), st.sampled_from((0, 8, 40, 10_000))).filter(lambda shape: shape[1] < shape[0])


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES,
    tokens=st.integers(1, 150),
    answer=st.integers(0, 12),
    chunk=st.sampled_from((1, 2, 7, 16, 33, 64, 200)),
    page=st.sampled_from((1, 4, 7, 16, 64)),
    disorder=st.none() | st.integers(0, 99),
)
def test_logits_are_those_of_the_definition_in_float64(
    shape: tuple[int, int, int], tokens: int, answer: int, chunk: int, page: int, disorder: int | None
) -> None:
    text = words(tokens, tokens + answer)
    found = Stepper(loaded(*shape), page=page, scattered=disorder).logits(text, chunk=chunk, prompt=tokens)
    assert error(found, dense(shape, text, tokens)) <= EXACT


@pytest.mark.parametrize("shape", [(24, 8, 0), (24, 8, 20), (20, 15, 0), (17, 1, 0)])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_queries_around_every_border_are_exact_however_a_step_ends_there(shape: tuple[int, int, int], beyond: int) -> None:
    step = shape[0] - shape[1]
    text = words(3, 4 * step + 2)
    expected = dense(shape, text, len(text))
    for chunks in (1, 2, 3, 4):
        border = chunks * step + beyond
        runner = Stepper(loaded(*shape), page=4)
        pieces = [runner.piece(text, 0, border, len(text)), runner.piece(text, border, len(text), len(text))]
        found = torch.cat([runner.step([piece]) for piece in pieces if piece.tokens])
        assert error(found, expected) <= EXACT


@pytest.mark.parametrize("tokens", [1, 15, 16])
def test_below_the_first_border_it_is_ordinary_attention(tokens: int) -> None:
    text = words(1, tokens)
    plain = dense_reference.logits(CONFIG, tensors(), text, dual=None, lengths=[tokens] * tokens)
    assert error(Stepper(loaded(24, 8, 0)).logits(text, chunk=5), plain) <= EXACT


def test_past_the_first_border_it_is_not() -> None:
    text = words(1, 40)
    plain = dense_reference.logits(CONFIG, tensors(), text, dual=None, lengths=[40] * 40)
    assert error(Stepper(loaded(24, 8, 0)).logits(text, chunk=5), plain) > 100 * EXACT


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, lengths=st.lists(st.integers(1, 90), min_size=2, max_size=5), page=st.sampled_from((4, 16)), answers=st.integers(1, 4))
def test_company_changes_no_sequence(shape: tuple[int, int, int], lengths: list[int], page: int, answers: int) -> None:
    texts = [words(index, length + answers) for index, length in enumerate(lengths)]
    runner = Stepper(loaded(*shape), page=page, sequences=len(texts))
    found: list[list[torch.Tensor]] = [[] for _ in texts]
    for turn in range(answers + 1):  # prompts of all, then one token of each
        spans = [(0, length) if turn == 0 else (length + turn - 1, length + turn) for length in lengths]
        pieces = [runner.piece(text, *span, span[1], sequence=index) for index, (text, span) in enumerate(zip(texts, spans, strict=True))]
        rows = runner.step(pieces)
        order = sorted(range(len(texts)), key=lambda index: len(pieces[index].tokens) == 1)
        parts = rows.split([len(pieces[index].tokens) for index in order])
        for index, part in zip(order, parts, strict=True):
            found[index].append(part)
    for text, length, parts in zip(texts, lengths, found, strict=True):
        assert error(torch.cat(parts), dense(shape, text, length)) <= EXACT


def test_the_length_that_sharpens_is_the_prompts_in_prefill_and_the_present_one_afterwards() -> None:
    shape = (24, 8, 20)
    text = words(2, 60)
    found = Stepper(loaded(*shape)).logits(text, chunk=16, prompt=50)
    assert error(found, dense(shape, text, 50)) <= EXACT
    assert error(found, dense(shape, text, 60)) > EXACT


def test_an_ordinary_model_takes_dual_chunk_attention_when_it_is_loaded() -> None:
    ordinary = {key: value for key, value in CONFIG.items() if key != "dual_chunk_attention_config"}
    path = str(tiny_model(Path(mkdtemp()), ordinary))
    given_at_load = load(path, dtype=torch.float32, device=torch.device("cpu"), dual_chunk=(24, 8))
    text = words(4, 100)
    expected = Stepper(loaded(24, 8, 0)).logits(text, chunk=32)
    assert torch.equal(Stepper(given_at_load).logits(text, chunk=32), expected)
    own = loaded(24, 8, 0).architecture.dual_chunk
    assert own is not None
    assert given_at_load.architecture.dual_chunk == replace(own, sparse_threshold_tokens=0, sparse_last_queries=0)


@pytest.mark.parametrize(("name", "dual", "said"), [("mistral", (24, 8), "SlidingAttention"), ("llama", (8, 8), "local part of 1 to 7")])
def test_layers_with_windows_and_chunks_without_a_step_are_refused(name: str, dual: tuple[int, int], said: str) -> None:
    path = str(tiny_model(Path(mkdtemp()), TINY_CONFIGS[name]))
    with pytest.raises(UnsupportedModelError, match=said):
        load(path, dtype=torch.float32, device=torch.device("cpu"), dual_chunk=dual)
