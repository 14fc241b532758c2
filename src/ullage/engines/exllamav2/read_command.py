"""Read commands that load a model with ExLlamaV2: its own scripts, TabbyAPI with that backend, text-generation-webui with that loader."""

import re
from collections.abc import Mapping
from typing import Final

from ullage.catalog import tabbyapi, textgen
from ullage.catalog.exllama_options import AUTO, NONE, Flag, read_numbers, scan, typed
from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.exllamav2.command import BACKEND, NO_FLASH
from ullage.engines.exllamav2.settings import validate

_SCRIPTS = frozenset({"test_inference.py", "chat.py"})
_LOADERS = frozenset({"exllamav2", "exllamav2_hf", "exllama", "exllama_hf"})
_NAMED = re.compile(r"exl2|gptq", re.IGNORECASE)
_SUCCESSOR = frozenset({"-cs", "--cache_size", "-cq", "--cache_quant", "-tpb", "--tp_backend", "-mcl", "-ambs"})  # ExLlamaV3's own
_OWN: Final = {
    "--model_dir": ("-m", "model", "one"),
    "--gpu_split": ("-gs", "gpu_split", "one"),
    "--length": ("-l", "max_seq_len", "one"),
    "--chunk_size": ("-chunk", "chunk_size", "one"),
    "--low_mem": ("-lm", "low_mem", "none"),
    "--no_flash_attn": ("-nfa", "no_flash_attn", "none"),
    "--tensor_parallel": ("-tp", "tensor_parallel", "none"),
}
_MODES: Final = {"-c8": "FP8", "--cache_8bit": "FP8", "-cq4": "Q4", "-cq6": "Q6", "-cq8": "Q8"} | {
    f"--cache_q{bits}": f"Q{bits}" for bits in (4, 6, 8)
}
_SILENT: Final = """
-rs --rope_scale -ra --rope_alpha -ry --rope_yarn -ept --experts_per_token -ed --eval_dataset -er --eval_rows -el --eval_length -p --prompt
-t --tokens -mix --mix_layers -sp --standard_perplexity --system_prompt -rr --rank_reduce -mol --max_output_len -mode --mode -un --username
-bn --botname -dm --draft_model_dir -dn --draft_n_tokens -temp --temperature -topk --top_k -topp --top_p -repp --repetition_penalty
-maxr --max_response_tokens -resc --response_chunk -smooth --smoothing_factor -dyntemp --dynamic_temperature -topa --top_a -skew --skew
-typical --typical -freqpen --frequency_penalty -prespen --presence_penalty -xtcp -xtct -drym -drya -dryb -dryr
""".split()  # noqa: SIM905 - a list of words reads best as words
_SILENT_SWITCHES: Final = """
-nxf --no_xformers -nsdpa --no_sdpa -ng --no_graphs -lq4 --load_q4 -fst --fast_safetensors -ic --ignore_compatibility -et --eval_token
-e8 --eval_token_8bit -eq4 -eq6 -eq8 -ecl -pnb --prompt_no_bos -ps --prompt_speed -s --speed -nwu --no_warmup -sl --stream_layers
-modes --modes -nsp --no_system_prompt -ncf --no_code_formatting -ngram --ngram_decoding -mli --mli -pt --print_timings -amnesia --amnesia
-nds --no_draft_scale
""".split()  # noqa: SIM905 - as above
FLAGS: Final = {
    **{name: Flag(setting="") for name in _SILENT},
    **{name: Flag(setting="", takes="none") for name in _SILENT_SWITCHES},
    **{name: Flag(setting=setting, takes=takes) for long, (short, setting, takes) in _OWN.items() for name in (short, long)},
    **{name: Flag(setting="cache_mode", takes="none", value=mode) for name, mode in _MODES.items()},
}


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not load a model with this engine."""
    found = _own(argv) or _server(argv) or textgen.read(argv, _LOADERS)
    if found is None:
        return None
    values, findings = found
    model = values.pop("model", None) or values.pop("model_name", None)
    values.pop("model_name", None)
    if model is None:
        findings.append(Finding(text="no model is named"))
    settings, more = typed(values, validate)
    if str(environment.get(NO_FLASH, "")).strip() not in {"", "0"}:
        settings["no_flash_attn"] = True
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    cards = len([word for word in visible.split(",") if word.strip()])
    kept = tuple(item for item in environment.items() if item[0] in {"CUDA_VISIBLE_DEVICES", NO_FLASH})
    return Request(
        engine=BACKEND,
        model=None if model is None else str(model),
        settings=Settings.of(settings),
        parallel=_parallel(settings, cards),
        environment=kept,
        findings=(*findings, *more),
        version=version,
        stated=frozenset({*settings, *(("parallel",) if cards else ())}),
    )


def _parallel(settings: Mapping[str, Value], cards: int) -> Parallel:
    """By the cards that are visible; else by the numbers of the split."""
    split = settings.get("gpu_split")
    if settings.get("tensor_parallel"):
        return Parallel(tensor=max(1, cards))
    if split is None or split in {AUTO, NONE}:
        return Parallel(pipeline=max(1, cards) if split != NONE else 1)
    return Parallel(pipeline=len(read_numbers("gpu_split", split)))


def _own(argv: tuple[str, ...]) -> tuple[dict[str, Value], list[Finding]] | None:
    """The library's own scripts; without ``-gs`` they put everything on the first card."""
    start = next((at for at, word in enumerate(argv) if word.rpartition("/")[2] in _SCRIPTS), None)
    if start is None or _SUCCESSOR & set(argv):
        return None
    if argv[start].rpartition("/")[2] == "chat.py" and not {"-m", "--model_dir"} & set(argv):
        return None
    values, findings = scan(argv[start + 1 :], FLAGS, argv[start])
    values.setdefault("gpu_split", NONE)
    return values, findings


def _server(argv: tuple[str, ...]) -> tuple[dict[str, Value], list[Finding]] | None:
    """TabbyAPI where its backend or the model's name is of this engine: since July 2026 it has only the successor."""
    words = tabbyapi.words_after_program(argv)
    if words is None:
        return None
    values, findings = tabbyapi.read(words)
    backend = str(values.pop("backend", "")).lower()
    mine = backend == BACKEND or (not backend and _NAMED.search(str(values.get("model_name", ""))) is not None)
    return (values, findings) if mine else None
