"""TabbyAPI, the server around both ExLlama engines: its options and its ``config.yml``, which hold the same keys."""

from collections.abc import Mapping, Sequence
from typing import Final

from ullage.catalog.exllama_options import AUTO, FALSE, NONE, Flag, scan
from ullage.domain.case import Value
from ullage.domain.engine import Extra, Server
from ullage.domain.plan import Command, Finding

PROGRAM, CONFIG = "main.py", "config.yml"
SERVER: Final = Server(
    program=PROGRAM,
    port=5000,
    folder_flag="--model-dir",
    behind=(Extra(words=("--disable-auth", "true")),),
    checkout="https://github.com/theroyallab/tabbyAPI",
)
_PROGRAMS = frozenset({"main.py", "start.py", "start.sh"})
_SIZES: Final = (
    "backend",
    "cache_mode",
    "cache_size",
    "chunk_size",
    "cpu_moe_offload_layers",
    "gpu_split_auto",
    "max_batch_size",
    "max_seq_len",
    "model_name",
    "tensor_parallel",
    "vision",
)
_LISTS: Final = ("autosplit_reserve", "gpu_split")
_SILENT: Final = """
api-servers config disable-auth disable-fetch-requests draft-cache-mode draft-mode draft-model-dir draft-model-name dummy-model-names
harmony host inline-model-loading log-generation-params log-prompt log-requests model-dir output-chunking port prompt-template
reasoning rope-alpha rope-scale send-tracebacks sse-ping-interval tensor-parallel-backend tool-format use-as-default use-dummy-models
""".split()  # noqa: SIM905 - a list of words reads best as words
FLAGS: Final = {
    **{f"--{name}": Flag(setting="", takes="many") for name in _SILENT},
    **{f"--{name.replace('_', '-')}": Flag(setting=name) for name in _SIZES},
    **{f"--{name.replace('_', '-')}": Flag(setting=name, takes="many") for name in _LISTS},
}
_TELLING = frozenset({"--config", *(f"--{name.replace('_', '-')}" for name in (*_SIZES, *_LISTS))})


def words_after_program(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The options of a line that starts TabbyAPI, or None."""
    for at, word in enumerate(argv):
        if word.rpartition("/")[2] in _PROGRAMS:
            rest = tuple(argv[at + 1 :])
            told = "tabby" in word.lower() or any(option.partition("=")[0].replace("_", "-") in _TELLING for option in rest)
            return rest if told else None
    return None


def read(words: Sequence[str]) -> tuple[dict[str, Value], list[Finding]]:
    """The keys a line sets, both keys of the split as one, and what is to be said about it."""
    values, findings = scan(words, FLAGS, "TabbyAPI")
    automatic = str(values.pop("gpu_split_auto", "true")).lower() not in FALSE
    values.setdefault("gpu_split", AUTO if automatic else NONE)
    if any(word.partition("=")[0] == "--config" for word in words) and "model_name" not in values:
        findings.append(Finding(text="the keys of the file behind --config are not read; give them as options as well", wrong=False))
    return values, findings


def write(model: str, keys: Mapping[str, Value], environment: tuple[tuple[str, str], ...] = ()) -> Command:
    """The command that starts TabbyAPI, and its ``config.yml``; every key stands in both, and an option prevails."""
    said = {"model_name": model, **_split(keys)}
    argv = ["python", PROGRAM, "--config", CONFIG]
    for name, value in said.items():
        argv += [f"--{name.replace('_', '-')}", *(str(value).split(",") if name in _LISTS else (_word(value),))]
    return Command(argv=tuple(argv), environment=environment, files=((CONFIG, _yaml(said)),))


def _split(keys: Mapping[str, Value]) -> dict[str, Value]:
    found = dict(keys)
    split = found.pop("gpu_split", AUTO)
    found["gpu_split_auto"] = split == AUTO
    if split not in {AUTO, NONE}:
        found["gpu_split"] = split
    return found


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(said: Mapping[str, Value]) -> str:
    lines = ["network:", "  host: 127.0.0.1", "  port: 5000", "model:", "  model_dir: models"]
    for name, value in said.items():
        text = f"[{str(value).replace(',', ', ')}]" if name in _LISTS else _word(value)
        quoted = f'"{text}"' if isinstance(value, str) and name not in _LISTS and not text.replace("_", "").isalnum() else text
        lines.append(f"  {name}: {quoted}")
    return "\n".join(lines) + "\n"
