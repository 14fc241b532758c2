"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.checkpoint import Role
from ullage.domain.ledger import Ledger
from ullage.engines.llama_cpp.cache import cells
from ullage.engines.llama_cpp.capacity import largest, overflows
from ullage.engines.llama_cpp.compute import is_pipelined
from ullage.engines.llama_cpp.fit import fits_itself
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.engines.llama_cpp.resolve import accelerators, host_of, layer_count, on_cpu_only, rules
from ullage.engines.llama_cpp.versions import QUIET_SINCE, SIZES_AT
from ullage.units import format_bytes


def notes(case: Case, ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*_slots(case), *_fit(case), *_files(case), *_host(case, ledger), *_log(case))


def _slots(case: Case) -> Iterator[str]:
    kept, slots = cells(case), case.settings.integer("n_parallel") or 1
    if kept.streams > 1:
        yield f"each of {slots} slots has {kept.tokens:,} tokens of its own, {kept.total:,} in all after rounding up to blocks of 256"
    elif slots > 1:
        yield f"{slots} slots share {kept.total:,} tokens; one sequence may use them all"
    longest = case.model.architecture.max_context_tokens
    if longest and kept.tokens > longest:
        yield f"a slot of {kept.tokens:,} tokens is longer than the {longest:,} the model was trained for"


def _fit(case: Case) -> Iterator[str]:
    """What the engine would change by itself; and what it leaves empty until it is told."""
    if (
        accelerators(case)
        and not rules(case).offload_all
        and not case.settings.integer("n_gpu_layers")
        and "n_gpu_layers" not in case.stated
    ):
        yield f"b{case.version} puts no layer on the accelerators unless --n-gpu-layers says how many: everything runs on the host"
    if not fits_itself(case):
        return
    if on_cpu_only(case):
        yield "without an accelerator --fit compares with all host memory, not with what is free, and starts anyway where it cannot fit"
        return
    if not overflows(case) or "n_gpu_layers" in case.stated:
        return
    total = layer_count(case) + 1
    most = largest(0, total, lambda count: not overflows(case.with_settings(n_gpu_layers=count)))
    if 0 <= most < total:
        yield (
            f"left to itself --fit would start with about {most} of {total} layers on the devices and the rest on the host, much slower; "
            "this plan counts that as not fitting"
        )


def _files(case: Case) -> Iterator[str]:
    roles = {tensor.role for tensor in case.model.checkpoint.tensors}
    if Role.VISION in roles and case.settings.text("mmproj") is None:
        yield "the vision or audio tower is a file of its own and is not counted; say --set mmproj=FILE to load it"
    if Role.MTP in roles and not case.settings.integer("spec_draft_n_max"):
        yield "draft layers are not loaded unless speculative decoding asks for them"
    if not case.model.checkpoint.exact:
        yield f"llama.cpp reads a .gguf file: make one with llama-quantize, or take a published one of {case.model.checkpoint.scheme}"
    if not case.model.checkpoint.exact:
        yield "published files differ from a mixture by rule by some percent, more where their maker chose types: a .gguf file is exact"
    if is_pipelined(case):
        yield "several devices keep four copies of the inputs; when they do not fit the engine goes on without pipelining"


def _host(case: Case, ledger: Ledger) -> Iterator[str]:
    host = host_of(case)
    if host is None:
        weights = place(case).weights_on(ON_HOST)
        yield f"{format_bytes(weights)} of weights stay in host memory; say --host-memory to have it checked"
        return
    limit = case.settings.integer("cache_ram") or 0
    if limit and not overflows(case) and any(entry.device == host for entry in ledger.entries):
        size = "without limit" if limit < 0 else f"up to {limit:,} MiB"
        yield f"saved prompts may take {size} of host memory in time; --cache-ram 0 switches them off"
    if on_cpu_only(case) and case.settings.flag("repack") is not False:
        yield "weights rearranged for the CPU are copies; the file's own pages stay in the page cache until they are needed elsewhere"


def _log(case: Case) -> Iterator[str]:
    if case.version.parts[0] >= QUIET_SINCE:
        yield f"the engine prints its buffer sizes from verbosity {SIZES_AT} on (-lv {SIZES_AT})"
    if accelerators(case) and rules(case).fits:
        yield "where the llama-fit-params program of the same build is there, `llama-fit-params -fitp on` is a second opinion"
