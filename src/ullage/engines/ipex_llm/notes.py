"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.ipex_llm.activation import (
    element_bytes,
    gate_up_width,
    largest_request,
    last_logits_only,
    layer_part,
    step_tokens,
)
from ullage.engines.ipex_llm.ranks import is_capped, is_limited, ranks
from ullage.engines.ipex_llm.requests import candidates
from ullage.engines.ipex_llm.resolve import activation_dtype, is_served, on_cpu
from ullage.engines.ipex_llm.versions import FORKS, LARGEST_BLOCK, PEAK_COUNTED, WIDE_HEAD, build_day, rules
from ullage.engines.ipex_llm.weights import packed
from ullage.units import MiB, format_bytes

EXAMPLE = 130 * MiB  # intel/ipex-llm issue 12080


def notes(case: Case, _ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    own = (*_served(case),) if is_served(case) else (*_generated(case),)
    return (*own, *_weights(case), *_cards(case), *_after(case))


def _served(case: Case) -> Iterator[str]:
    rule, step = rules(case), layer_part(case).amount.expected
    yield f"the build of {build_day(case)} serves with the {rule.fork} fork of vLLM (analytics-zoo/vllm, by days: {_fork_days()})"
    if not rule.peak_counted and not is_capped(case):
        budget = min(rank.budget for rank in ranks(case))
        yield (
            f"builds before {PEAK_COUNTED} read the memory in use after the profile run, when its peak is gone: the cache fills the "
            f"budget of {format_bytes(budget)} and a step of {step_tokens(case):,} tokens comes on top: exceeded by {format_bytes(step)}"
        )
    if not on_cpu(case):
        yield (
            "the fork knows the card's total and PyTorch's own pool only: other processes and the Level Zero context are outside its "
            "budget, so leave 1 GiB and more beside it and watch the card's free memory, not PyTorch's"
        )
    width, element = gate_up_width(case), element_bytes(case)
    if width:
        most = step_tokens(case) * width * element
        yield (
            f"the gate and up projection of a step asks for one block of {width * element:,} B a token ({width:,} wide), "
            f"{format_bytes(most)} for a full step of {step_tokens(case):,}: what an out-of-memory line asks for "
            f"tells how many tokens ran, such as {_example(case)}"
        )
    if rule.pads_prompts and not on_cpu(case):
        yield "this fork pads the prompts of a batch to the longest one: filter over-long samples, or lower max_num_seqs"
    if "enforce_eager" not in case.stated:
        yield "XPU has no graph capture: enforce_eager changes no memory"


def _example(case: Case) -> str:
    """A failed request of 130 MiB, as somebody's log has it, in tokens of this model."""
    found = next(iter(candidates(case, EXAMPLE)), None)
    return f"{format_bytes(EXAMPLE)} for {found.tokens[0]:,} to {found.tokens[1]:,} tokens" if found else format_bytes(EXAMPLE)


def _fork_days() -> str:
    return ", ".join(f"{name} from {day}" for day, name in FORKS[1:])


def _generated(case: Case) -> Iterator[str]:
    if activation_dtype(case) == "float32":
        yield "without .half() (torch_dtype=float16) the token table, activations and cache are float32, twice their 16-bit size"
    if not last_logits_only(case):
        words = case.model.architecture.vocab_size
        yield (
            f"this build computes the logits of every prompt position, {words:,} words wide, and copies them in float32; releases from "
            f"2.2.0 on compute the last one only, 2.1.0 does for heads of more than {WIDE_HEAD:,} rows, or with IPEX_LLM_LAST_LM_HEAD=1"
        )
    if case.settings.text("kv_cache_dtype") == "fp8":
        yield "keys and values are kept in 8 bits (IPEX_LLM_QUANTIZE_KV_CACHE=0 switches it off)"


def _weights(case: Case) -> Iterator[str]:
    word = case.settings.text("load_in_low_bit")
    if "load_in_low_bit" not in case.stated and not case.model.is_quantised:
        what = "the fork packs to sym_int4" if is_served(case) else "nothing is packed"
        yield f"no --load-in-low-bit was said, so {what}; what lies on the card is {format_bytes(packed(case).checkpoint.nbytes)}"
    if case.model.is_quantised and case.model.unquantised is None and not case.model.checkpoint.scheme.startswith("ipex-llm"):
        yield f"a checkpoint in {case.model.checkpoint.scheme} is taken as {word} with its own size: the library repacks it while loading"
    elif word not in {"fp16", "bf16"}:
        smaller = packed(case.with_settings(load_in_low_bit="sym_int4")).checkpoint.nbytes
        now = packed(case).checkpoint.nbytes
        more = f"; sym_int4 would take {format_bytes(now - smaller)} less" if now > smaller else ""
        yield f"blocks of 64 weights share their scales, and the token table stays in 16 bits or more: {format_bytes(now)} in all{more}"
    yield "weights are packed on the host, which holds the model in 16 bits meanwhile; save_low_bit does it once"


def _cards(case: Case) -> Iterator[str]:
    device = next((device for device in case.devices if is_limited(device)), None)
    if device is not None:
        request = largest_request(case)
        yield (
            f"{device.name} gives at most {format_bytes(LARGEST_BLOCK.value)} in one allocation; the largest here is "
            f"{format_bytes(request.amount.expected)} ({request.because})"
        )
    if len(case.devices) > 1 and is_served(case):
        yield "several cards need --distributed-executor-backend ray and the CCL_* environment of the image"


def _after(case: Case) -> Iterator[str]:
    if not is_served(case):
        return
    yield (
        "IPEX-LLM is archived (January 2026) and gets no fixes; its successors are vLLM's own XPU build and Intel's "
        "llm-scaler images: --load-in-low-bit X becomes --quantization X (fp8, sym_int4, mxfp4), --device xpu goes, "
        "--block-size becomes 64, --max-num-batched-tokens and --max-num-seqs stay, and "
        "VLLM_OFFLOAD_WEIGHTS_BEFORE_QUANT=1 keeps the unquantised weights off the card"
    )
