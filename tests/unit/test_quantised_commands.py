"""A plan in another scheme prints a command that leads to it, or says what to put in the model's place."""

from pathlib import Path

import pytest
from tests.header_files import safetensors_header

import ullage
from ullage.domain.plan import Verdict
from ullage.errors import InputError


@pytest.mark.parametrize(
    ("engine", "quant", "words"),
    [
        ("vllm", "fp8", ("--quantization", "fp8")),
        ("sglang", "fp8", ("--quantization", "fp8")),
        ("sglang", "fp8-channel", ("--quantization", "w8a8_fp8")),
        ("sglang", "nf4", ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes")),
    ],
)
def test_what_the_engine_quantises_itself_is_said_and_the_command_checks_to_the_same_plan(
    engine: str, quant: str, words: tuple[str, ...]
) -> None:
    planned = ullage.plan("Qwen3-32B", engine=engine, quant=quant, gpu="2x4090", context="4K")
    assert set(words) <= set(planned.command.argv)
    assert not any("as published" in note for note in planned.notes)
    checked = ullage.check(planned.command.argv, gpu="2x4090")
    assert (checked.case.model.checkpoint.scheme, checked.ledger) == (planned.case.model.checkpoint.scheme, planned.ledger)
    assert sorted(checked.command.argv) == sorted(planned.command.argv)


def test_bitsandbytes_is_made_by_the_releases_that_have_it_only() -> None:
    old = ullage.plan("Qwen3-8B", quant="nf4", gpu="4090", context="8K", engine_version="0.10.2")
    assert "bitsandbytes" in old.command.argv
    assert not any("as published" in note for note in old.notes)
    new = ullage.plan("Qwen3-8B", quant="nf4", gpu="4090", context="8K", engine_version="0.28.0")
    assert "bitsandbytes" not in new.command.argv


@pytest.mark.parametrize(
    ("engine", "quant"), [("vllm", "awq"), ("sglang", "gptq"), ("vllm", "fp8-block"), ("exllamav3", "exl3-4.0bpw"), ("transformers", "awq")]
)
def test_what_has_to_be_stored_before_is_the_first_note(engine: str, quant: str) -> None:
    planned = ullage.plan("Qwen3-8B", engine=engine, quant=quant, gpu="4090", context="8K")
    scheme = planned.case.model.checkpoint.scheme
    assert planned.notes[0] == (
        f"the command names Qwen/Qwen3-8B as published; put the name or path of a checkpoint stored as {scheme} in its place"
    )
    assert not planned.findings


def test_an_older_card_does_not_make_fp8_and_says_so() -> None:
    planned = ullage.plan("Qwen3-8B", quant="fp8", gpu="T4", context="4K")
    assert "--quantization" not in planned.command.argv
    assert "as published" in planned.notes[0]
    checked = ullage.check("vllm serve Qwen/Qwen3-8B --quantization fp8 --max-model-len 4096", gpu="T4")
    assert checked.verdict is Verdict.REFUSED
    assert "Minimum capability: 80. Current capability: 75." in checked.objections[0].text


@pytest.mark.parametrize("start", ["vllm serve Qwen3-8B --max-model-len 8192", "sglang serve --model-path Qwen3-8B --context-length 8192"])
def test_a_commands_own_quantisation_is_planned(start: str) -> None:
    plain, fp8 = ullage.check(start, gpu="4090"), ullage.check(f"{start} --quantization fp8", gpu="4090")
    assert plain.case.model.checkpoint.scheme == "bfloat16"
    assert fp8.case.model.checkpoint.scheme == "fp8 per tensor"
    assert fp8.case.model.checkpoint.nbytes < 0.6 * plain.case.model.checkpoint.nbytes
    refused = ullage.check(f"{start} --quantization awq", gpu="4090")
    assert refused.verdict is Verdict.REFUSED
    assert refused.objections[0].text == "ValueError: Cannot find the config file for awq"


def test_a_checkpoint_stored_so_already_stays_as_it_is() -> None:
    stored, said = (ullage.check(f"vllm serve DeepSeek-V3 -tp 8 {more}", gpu="8xH200-141GB") for more in ("", "--quantization fp8"))
    assert said.case.model.checkpoint.scheme == stored.case.model.checkpoint.scheme == "fp8 block 128x128"
    assert said.ledger == stored.ledger


@pytest.mark.parametrize(
    ("quant", "line"),
    [
        ("nf4", 'quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),'),
        ("torchao-int8", "quantization_config=TorchAoConfig(torchao.quantization.Int8WeightOnlyConfig()),"),
        ("fp8-block", "quantization_config=FineGrainedFP8Config(),"),
    ],
)
def test_a_script_quantises_in_the_librarys_own_words(quant: str, line: str) -> None:
    planned = ullage.plan("Qwen3-8B", engine="transformers", quant=quant, gpu="4090", context="4K")
    script = planned.command.files[0][1]
    assert line in script
    assert line.partition("=")[2].partition("(")[0] in script.partition("NAME")[0]
    compile(script, "generate.py", "exec")


@pytest.mark.parametrize("engine", ["llama.cpp", "ktransformers"])
def test_a_published_fp8_configuration_is_planned_as_another_scheme(engine: str) -> None:
    planned = ullage.plan("DeepSeek-V3", engine=engine, quant="q2_k", gpu="8xH100-80GB", context="8K", host_memory="1TiB")
    assert planned.case.model.checkpoint.scheme == "gguf q2_k"
    assert "planned as gguf q2_k in place of the published fp8 block 128x128" in planned.notes


def test_files_with_headers_keep_their_scheme(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,'
        '"num_hidden_layers": 1,'
        '"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512,'
        '"torch_dtype": "bfloat16",'
        '"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}'
    )
    (tmp_path / "model.safetensors").write_bytes(safetensors_header({}))
    with pytest.raises(InputError, match="stored quantised already"):
        ullage.plan(str(tmp_path), gpu="4090", quant="awq")
