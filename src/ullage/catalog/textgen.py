"""text-generation-webui's ``server.py`` with one of the ExLlama loaders: the options that matter to memory."""

from collections.abc import Sequence
from typing import Final

from ullage.catalog.exllama_options import AUTO, NONE, Flag, scan
from ullage.domain.case import Value
from ullage.domain.plan import Finding

_FLAGS: Final = {
    "--model": Flag(setting="model"),
    "--loader": Flag(setting="loader"),
    "--gpu-split": Flag(setting="gpu_split"),
    "--max-seq-len": Flag(setting="max_seq_len"),
    "--ctx-size": Flag(setting="max_seq_len"),
    "--n-ctx": Flag(setting="max_seq_len"),
    "--cache-type": Flag(setting="cache_mode"),
    "--cache-8bit": Flag(setting="cache_mode", takes="none", value="FP8"),
    "--cache-4bit": Flag(setting="cache_mode", takes="none", value="Q4"),
    "--autosplit": Flag(setting="autosplit", takes="none"),
    "--enable-tp": Flag(setting="tensor_parallel", takes="none"),
    "--no-flash-attn": Flag(setting="no_flash_attn", takes="none"),
    "--chunk-size": Flag(setting="chunk_size"),
}
_SILENT: Final = """
admin-key alpha-value api api-key api-port auto-launch cfg-cache character chat-buttons compress-pos-emb cpu-moe disable-exllama
disable-exllamav2 extensions gradio-auth groupsize listen listen-host listen-port lora model-dir model-menu multi-user no-mmap no-sdpa
no-xformers nowebui num-experts-per-token public-api settings share trust-remote-code verbose wbits
""".split()  # noqa: SIM905 - a list of words reads best as words
FLAGS: Final = {**{f"--{name}": Flag(setting="", takes="many") for name in _SILENT}, **_FLAGS}


def read(argv: Sequence[str], loaders: frozenset[str]) -> tuple[dict[str, Value], list[Finding]] | None:
    """What a line with one of these loaders sets, or None where it has another loader or starts something else."""
    start = next((at for at, word in enumerate(argv) if word.rpartition("/")[2] == "server.py"), None)
    if start is None:
        return None
    values, findings = scan(argv[start + 1 :], FLAGS, "text-generation-webui")
    loader = str(values.pop("loader", "")).lower()
    if loader not in loaders:
        return None
    automatic = values.pop("autosplit", False)
    values.setdefault("gpu_split", AUTO if automatic or loader.startswith("exllamav3") else NONE)
    return values, findings
