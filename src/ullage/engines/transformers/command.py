"""What to run: ``transformers serve`` for continuous batching, else a short script around ``generate``."""

from ullage.catalog.at_load import made_at_load
from ullage.domain.case import Case
from ullage.domain.plan import Command
from ullage.engines.transformers.cache import QUANTIZED, implementation
from ullage.engines.transformers.continuous import is_continuous
from ullage.engines.transformers.device_map import CPU, DISK
from ullage.engines.transformers.placement import on_processor, read_max_memory, single_device
from ullage.engines.transformers.versions import rules, version

SCRIPT = "generate.py"
USEFUL_ANSWER = 512  # tokens of an answer where nobody said how many
POOL_FLAGS = (
    ("--cb-block-size", "page_size"),
    ("--cb-num-blocks", "num_blocks"),
    ("--cb-max-batch-tokens", "max_batch_tokens"),
    ("--cb-max-memory-percent", "max_memory_percent"),
)


def command(case: Case) -> Command:
    """The command of a case, in the library's own words."""
    return _serve(case) if is_continuous(case) else _script(case)


def _environment(case: Case) -> tuple[tuple[str, str], ...]:
    """Only the devices the plan uses are to be seen, since a device map takes all it sees."""
    if single_device(case) is not None or len(case.devices) == len(case.machine.devices):
        return ()
    return (("CUDA_VISIBLE_DEVICES", ",".join(str(index) for index in range(len(case.devices)))),)


def _serve(case: Case) -> Command:
    model = (case.model.argument,) if rules(case).pool_flags else ("--force-model", case.model.argument)
    argv = ["transformers", "serve", *model, "--continuous-batching"]
    argv += ["--attn-implementation", str(case.settings.text("attn_implementation")), "--dtype", str(case.settings.text("dtype"))]
    for flag, name in POOL_FLAGS:
        value = case.settings.get(name)
        if value is not None:
            argv += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return Command(argv=tuple(argv), environment=_environment(case))


def _script(case: Case) -> Command:
    return Command(argv=("python", SCRIPT), environment=_environment(case), files=((SCRIPT, script(case)),))


def script(case: Case) -> str:
    """The script's text: it says its settings, loads the model as planned and answers prompts, so many at a time."""
    loading = "\n".join(f"    {name}={value}," for name, value in _loading(case))
    prompt = _context(case) - _answer(case)
    asking = "\n".join(f"        {name}={value}," for name, value in _asking(case))
    return f'''"""Answers prompts, {case.workload.concurrent_sequences} at a time as planned."""

{_imports(case)}

NAME = {case.model.argument!r}
AT_ONCE = {case.workload.concurrent_sequences}
SETTINGS = {_said(case)!r}
print(f"{SCRIPT}: transformers=={{transformers.__version__}}, model={{NAME!r}}, {{SETTINGS}}", file=sys.stderr)

tokenizer = AutoTokenizer.from_pretrained(NAME, padding_side="left")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(
    NAME,
{loading}
).eval()

prompts = sys.argv[1:] or ["Hello"]
{_split_text(case)}for start in range(0, len(prompts), AT_ONCE):
    some = prompts[start : start + AT_ONCE]
    batch = tokenizer(some, return_tensors="pt", padding=True, truncation=True, max_length={prompt}).to(model.device)
    rows, length = batch["input_ids"].shape
    print(f"{SCRIPT}: {{rows}} prompts of {{length}} tokens, {_answer(case)} tokens of answer", file=sys.stderr)
    answers = model.generate(
        **batch,
{asking}
    )
    print("\\n".join(tokenizer.batch_decode(answers[:, length:], skip_special_tokens=True)))
for index in range(torch.cuda.device_count()):
    print(f"GPU {{index}}: peak {{torch.cuda.max_memory_allocated(index):,}} bytes allocated")
'''


def _said(case: Case) -> str:
    """The settings as the script says them, so that its log tells the case."""
    return ", ".join(f"{name}={value!r}" for name, value in case.settings.items if value is not None)


def _imports(case: Case) -> str:
    """What the script needs, the class that quantises while loading among it."""
    made = made_at_load(case)
    text = dict(made.settings)["quantization_config"] if made is not None else ""
    names = sorted({"AutoModelForCausalLM", "AutoTokenizer", *((text.partition("(")[0],) if text else ())})
    library = "import torchao.quantization\n" if "torchao." in text else ""
    return f"import sys\n\nimport torch\n{library}import transformers\nfrom transformers import {', '.join(names)}"


def _loading(case: Case) -> list[tuple[str, str]]:
    dtype = "dtype" if case.version >= version("4.56.0") else "torch_dtype"
    found = [(dtype, f"torch.{case.settings.text('dtype')}")]
    if "device_map" in case.stated or not on_processor(case):
        found.append(("device_map", repr(case.settings.get("device_map"))))  # beside a processor alone it only asks for Accelerate
    if case.version >= version("4.36.0"):
        found.append(("attn_implementation", repr(case.settings.text("attn_implementation"))))
    made = made_at_load(case)
    found += made.settings if made is not None else ()
    limits = case.settings.text("max_memory")
    if limits is not None:
        said = {name if name in {CPU, DISK} else int(name): f"{nbytes}B" for name, nbytes in read_max_memory(limits).items()}
        found.append(("max_memory", repr(said)))
    if case.settings.flag("low_cpu_mem_usage") is not None:
        found.append(("low_cpu_mem_usage", repr(case.settings.flag("low_cpu_mem_usage"))))
    return found


def _context(case: Case) -> int:
    return case.workload.context_tokens or 1


def _is_split(case: Case) -> bool:
    """Whether somebody said how long an answer is; else the plan takes the longest prompt, which is the most memory."""
    return case.settings.has("max_new_tokens") or _context(case) - (case.workload.prompt_tokens or 0) > 1


def _answer(case: Case) -> int:
    """Tokens of an answer: as said, else a share of the context that is of use."""
    planned = max(1, _context(case) - (case.workload.prompt_tokens or 0))
    return planned if _is_split(case) else max(1, min(USEFUL_ANSWER, _context(case) // 4))


def _split_text(case: Case) -> str:
    """A comment where the script's answer is not the plan's."""
    if _is_split(case):
        return ""
    return f"# The plan holds for any split of {_context(case):,} tokens: it counts a prompt of all but one, which takes the most.\n"


def _asking(case: Case) -> list[tuple[str, str]]:
    found = [("max_new_tokens", str(_answer(case)))]
    if implementation(case) != "dynamic":
        found.append(("cache_implementation", repr(implementation(case))))
    if implementation(case) == QUANTIZED:
        names = ("backend", "nbits", "q_group_size", "residual_length")
        said = {name: case.settings.get(f"cache_{name}") for name in names if case.settings.get(f"cache_{name}") is not None}
        found.append(("cache_config", repr({"backend": "quanto", "nbits": 4, **said})))
    chunk = case.settings.integer("prefill_chunk_size")
    if chunk is not None:
        found.append(("prefill_chunk_size", str(chunk)))
    return found
