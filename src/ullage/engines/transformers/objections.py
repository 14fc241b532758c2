"""Why a load or a call will fail before any memory runs out, with the library's own words where it has some."""

from collections.abc import Iterator

from ullage.domain.architecture import FullAttention, LatentAttention
from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.transformers import continuous
from ullage.engines.transformers.cache import QUANTISERS, QUANTIZED, STATIC, implementation
from ullage.engines.transformers.command import POOL_FLAGS
from ullage.engines.transformers.device_map import DISK
from ullage.engines.transformers.placement import AUTOMATIC, shares
from ullage.engines.transformers.settings import ATTENTION
from ullage.engines.transformers.versions import rules, version
from ullage.units import format_bytes


def objections(case: Case) -> tuple[Objection, ...]:
    """In the order in which the library would meet them."""
    return (*_layout(case), *_attention(case), *_cache(case), *_disk(case), *_pool(case))


def _layout(case: Case) -> Iterator[Objection]:
    if case.parallel.tensor > 1 or case.parallel.data > 1:
        yield Objection(
            text="tp_plan and device_map are mutually exclusive. Please use only one of them.",
            why="a device map places whole layers; no tensor or data parallelism is planned for Transformers",
            next_step=f"--pipeline {case.parallel.devices} spreads the layers over as many devices; vllm and sglang cut tensors",
        )
    if case.parallel.pipeline > 1 and case.settings.get("device_map") not in AUTOMATIC:
        yield Objection(
            text=f"device_map={case.settings.get('device_map')!r}",
            why=f"the device map names one device, and {case.parallel.pipeline} are asked for",
            next_step="device_map=auto spreads the layers",
        )


def _attention(case: Case) -> Iterator[Objection]:
    kind = case.settings.text("attn_implementation") or ""
    plain = kind.removeprefix("paged|")
    if plain not in ATTENTION and "/" not in plain:
        yield Objection(
            text=f'Specified `attn_implementation="{kind}"` is not supported.',
            why=f"{kind!r} is no way to compute attention; {', '.join(ATTENTION)} are",
            next_step="attn_implementation=sdpa",
        )
    if plain == "sdpa" and case.version < version("4.36.0"):
        yield Objection(
            text="from_pretrained() got an unexpected keyword argument 'attn_implementation'",
            why=f"sdpa came with 4.36; this is {case.version}",
            next_step="attn_implementation=eager, or a newer release",
        )
    if plain.startswith("flash_attention") and case.settings.text("dtype") == "float32":
        yield Objection(
            text="FlashAttention only support fp16 and bf16 data type",
            why="flash attention has no float32 kernels, and the weights are loaded as float32",
            next_step="dtype=bfloat16 also halves the weights",
        )
    if plain == "flash_attention_2" and any(
        device.kind == "cuda" and (device.compute_capability or (8, 0)) < (8, 0) for device in case.devices
    ):
        yield Objection(
            text="RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
            why="a device is older than compute capability 8.0",
            next_step="attn_implementation=sdpa",
        )


def _cache(case: Case) -> Iterator[Objection]:
    kind, known = implementation(case), rules(case).caches
    aliases = STATIC if case.version >= version("4.56.0") else ()
    if kind not in (*known, *aliases):
        yield Objection(
            text=f"Invalid `cache_implementation` ({kind}). Choose one of: {known}",
            why=f"Transformers {case.version} knows the caches {', '.join(known)}",
            next_step=f"cache_implementation={known[0]}",
        )
    if kind != QUANTIZED:
        return
    backend, bits = case.settings.text("cache_backend") or "quanto", case.settings.integer("cache_nbits") or 4
    if backend not in QUANTISERS:
        yield Objection(
            text=f"Unknown quantization backend `{backend}`",
            why=f"a cache is quantised by {' or '.join(QUANTISERS)}",
            next_step="cache_backend=quanto",
        )
    elif bits not in QUANTISERS[backend]:
        allowed = ", ".join(map(str, QUANTISERS[backend]))
        yield Objection(
            text=f"`nbits` for `{backend}` backend has to be one of [{allowed}] but got {bits}",
            why=f"{backend} has no {bits}-bit cache",
            next_step=f"cache_nbits={QUANTISERS[backend][-1]}",
        )
    if any(not isinstance(mixer, FullAttention | LatentAttention) for layer in case.model.architecture.layers for mixer in layer.mixers):
        yield Objection(
            text="This model does not support the quantized cache.",
            why="only models whose layers all use full attention have a quantised cache",
            next_step="cache_implementation=offloaded",
        )


def _disk(case: Case) -> Iterator[Objection]:
    left = [share for share in shares(case) if share.device == DISK]
    if not left:
        return
    nbytes = sum(share.nbytes for share in left)
    host = "no host memory was given" if case.machine.host is None else f"the host has {format_bytes(case.machine.host.total_bytes)}"
    yield Objection(
        text="The current `device_map` had weights offloaded to the disk. Please provide an `offload_folder` for them.",
        why=f"{format_bytes(nbytes)} of weights fit neither the devices nor the host ({host}) and would be read from disk for every token",
        next_step=f"devices or a host with {format_bytes(nbytes)} more, or a smaller scheme",
        limit=Limit.WEIGHTS,
    )


def _pool(case: Case) -> Iterator[Objection]:
    if not continuous.is_continuous(case):
        return
    if not rules(case).batch_tokens:
        yield Objection(
            text="No such option: --continuous-batching",
            why=f"the pool is planned since 5.0; this is {case.version}",
            next_step="release 5.23",
        )
        return
    unknown = next((flag for flag, name in POOL_FLAGS if case.settings.has(name)), "") if not rules(case).pool_flags else ""
    if unknown:
        yield Objection(
            text=f"No such option: {unknown}", why=f"the server takes it since 5.5; this is {case.version}", next_step="release 5.23"
        )
    if len(case.devices) > 1:
        yield Objection(
            text="continuous batching runs on the device of the model's first parameter",
            why=f"the pool lies on one device, and {len(case.devices)} are asked for",
            next_step="--pipeline 1",
        )
    pool = continuous.plan(case)
    need, have = format_bytes(pool.step_bytes), format_bytes(pool.available)
    if pool.pages <= 0:
        yield Objection(
            text=f"Memory footprint {pool.step_bytes} is more than available memory {pool.available}",
            why=f"a step of {pool.batch_tokens:,} tokens needs {need} of the {have} planned with",
            next_step=f"max_batch_tokens={max(256, pool.batch_tokens // 4)}",
            limit=Limit.CACHE,
        )
