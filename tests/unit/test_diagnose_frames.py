"""Tracebacks in the ways that Python, notebooks, rich and terminals show them, and what their functions and source lines tell."""

import pytest

from ullage.catalog.traceback_frames import frame_of, made_in
from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Family, Kind, Stage
from ullage.domain.ledger import Purpose
from ullage.world import real

OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 260.00 MiB. GPU 0 has a total capacity of 23.53 GiB of which "
    "190.50 MiB is free. Including non-PyTorch memory, this process has 23.33 GiB memory in use. Of the allocated memory 22.70 GiB is "
    "allocated by PyTorch, and 87.85 MiB is reserved by PyTorch but unallocated."
)


def diagnosed(text: str) -> Diagnosis:
    return make_diagnosis(VERB.flags({"offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))


@pytest.mark.parametrize(
    "line",
    [
        '  File "/lib/vllm/worker/cache_engine.py", line 64, in _allocate_kv_cache',
        "  File “/lib/vllm/worker/cache_engine.py”, line 64, in _allocate_kv_cache",
        'ERROR:      File "/lib/vllm/worker/cache_engine.py", line 64, in _allocate_kv_cache',
        "│ /lib/vllm/worker/cache_engine.py:64 in _allocate_kv_cache                            │",
        "File /lib/vllm/worker/cache_engine.py:64, in CacheEngine._allocate_kv_cache(self, num_blocks, device)",
        "File [/lib/vllm/worker/cache_engine.py:64](http://localhost/lab/cache_engine.py#line=63), in CacheEngine._allocate_kv_cache(self)",
        "/lib/vllm/worker/cache_engine.py in _allocate_kv_cache(self, num_blocks, device)",
    ],
)
def test_a_function_is_read_in_every_way_it_is_shown(line: str) -> None:
    found = frame_of(line)
    assert found is not None
    assert (found[0].endswith("vllm/worker/cache_engine.py"), found[1]) == (True, "_allocate_kv_cache")


@pytest.mark.parametrize(
    "line", ["INFO: see config.py for more", "saved to /tmp/x.py", "File not found in cache", "loading model.py: 3 in all"]
)
def test_a_sentence_about_a_file_is_no_function(line: str) -> None:
    assert frame_of(line) is None


def test_a_function_whose_line_a_width_broke_is_put_together() -> None:
    text = (
        "2026-03-14 11:05:29.634 ERROR:    Traceback (most recent call last):\n"
        "2026-03-14 11:05:29.634 ERROR:      File\n"
        '"/usr/local/lib/python3.10/dist-packages/exllamav2/model.py", line 81, in\n'
        "load_autosplit_gen\n"
        "2026-03-14 11:05:29.634 ERROR:        self.one()\n"
        f"2026-03-14 11:05:29.634 ERROR:    {OOM}\n"
    )
    first = diagnosed(text).causes[0]
    assert (first.kind, first.stage) == (Kind.WEIGHTS, Stage.LOAD)
    without = diagnosed(text.replace("load_autosplit_gen", "iterate")).causes[0]
    assert (without.term, without.stage) == (Purpose.ACTIVATIONS, Stage.FIRST_PROMPT)


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("layer_kv_cache = torch.zeros(alloc_shape,", Purpose.KV_CACHE),
        ("self.key_cache.append(torch.empty(shape, dtype=dtype))", Purpose.KV_CACHE),
        ("cache = ExLlamaV2Cache(model, lazy = True)", Purpose.KV_CACHE),
        ("logits = self.lm_head(hidden_states)", Purpose.LOGITS),
        ("probs = torch.softmax(logits, dim=-1, dtype=torch.float)", Purpose.LOGITS),
        ("self.scratch = torch.empty((self.scratch_bytes // 2,), dtype = torch.half)", Purpose.WORKSPACE),
        ("gate = router_logits = self.gate(hidden_states)", None),
        ("v_full = torch.cat([v_cached_trim, chunk], dim=0)", None),
        ("hidden_states = self.mlp(hidden_states)", None),
    ],
)
def test_a_line_of_source_tells_what_it_makes(line: str, made: Purpose | None) -> None:
    assert made_in((line,)) is made


def test_only_the_innermost_source_counts() -> None:
    assert made_in(("logits = self.lm_head(x)", "a()", "b()", "c()", "d()")) is None


def test_a_pool_without_a_place_left_is_no_bug() -> None:
    above = 'Traceback (most recent call last):\n  File "/sglang/srt/managers/batch.py", line 203, in {}\n    rows = indices.cpu()\n'
    error = "AttributeError: 'NoneType' object has no attribute 'cpu'\n"
    assert diagnosed(above.format("prepare_for_extend") + error).causes[0].kind is Kind.CACHE_PRESSURE
    assert diagnosed(above.format("run_batch") + error).causes[0].family is Family.NOT_MEMORY


@pytest.mark.parametrize(
    ("words", "kind", "change"),
    [
        ("Method Warmup encountered an error.\n" + OOM, Kind.ACTIVATIONS, "max_batch_prefill_tokens"),
        ("Method Prefill encountered an error.\n" + OOM, Kind.ACTIVATIONS, "max_batch_prefill_tokens"),
        ("ShardCannotStart\n" + OOM, Kind.WEIGHTS, "num_shard"),
        ("Shard process was signaled to shutdown with signal 9", Kind.HOST, "host memory"),
        ("Shard process was signaled to shutdown with signal 7", Kind.SHARED_MEMORY, "shm-size"),
    ],
)
def test_a_server_that_is_not_planned_is_understood_in_its_own_settings(words: str, kind: Kind, change: str) -> None:
    found = diagnosed(f"2026-04-19T11:06:25.868590Z ERROR text_generation_launcher: {words}\n")
    assert (found.log.engine, found.causes[0].kind, found.changes[0].setting) == ("text_generation_inference", kind, change)
    assert "text-generation-inference" in found.notes[0]


def test_what_an_error_advises_of_a_processor_is_offered_only_there() -> None:
    said = (
        "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored in KV cache (21840). "
    )
    settings = [
        change.setting for change in diagnosed(said + "Try increasing `VLLM_CPU_KVCACHE_SPACE` or decreasing `max_model_len`").changes
    ]
    assert settings[0] == "VLLM_CPU_KVCACHE_SPACE"
    plain = [change.setting for change in diagnosed(said + "Try increasing `gpu_memory_utilization` or decreasing `max_model_len`").changes]
    assert "VLLM_CPU_KVCACHE_SPACE" not in plain


def test_a_traceback_in_a_box_tells_as_much_as_a_plain_one() -> None:
    box = (
        "╭─────────────────────── Traceback (most recent call last) ───────────────────────╮\n"
        "│ /srv/chat.py:31 in <module>                                                     │\n"
        "│                                                                                 │\n"
        "│   30 inputs = tokenizer(prompt, return_tensors='pt')                            │\n"
        "│ ❱ 31 answer = model.generate(**inputs)                                          │\n"
        "│                                                                                 │\n"
        "│ /usr/lib/python3.10/transformers/models/llama/modeling_llama.py:822 in          │\n"
        "│ forward                                                                         │\n"
        "│                                                                                 │\n"
        "│   821 │   │   outputs = self.model(input_ids)                                   │\n"
        "│ ❱ 822 │   │   logits = self.lm_head(outputs[0])                                 │\n"
        "╰─────────────────────────────────────────────────────────────────────────────────╯\n"
    )
    found = diagnosed(box + OOM + "\n")
    assert (found.log.engine, found.causes[0].stage, found.causes[0].term) == ("transformers", Stage.FIRST_PROMPT, Purpose.LOGITS)


V, S, X = "/lib/vllm/v1/worker/gpu_model_runner.py", "/lib/sglang/srt/model_executor/model_runner.py", "/lib/exllamav3/cache/fp16.py"
DEATHS = (
    (V, "profile_run", "outputs = self.model(", Stage.PROFILE, Purpose.ACTIVATIONS),
    (V, "capture_model", "self._dummy_run(", Stage.CAPTURE, Purpose.GRAPHS),
    (V, "_allocate_kv_cache_tensors", "tensor = torch.zeros(size, dtype=torch.int8)", Stage.CACHE, Purpose.KV_CACHE),
    (V, "load_model", "process_weights_after_loading(model)", Stage.LOAD, Purpose.WEIGHTS),
    ("/lib/vllm/lora/layers.py", "create_lora_weights", "torch.zeros(", Stage.LOAD, Purpose.WEIGHTS),
    (V, "execute_model", "logits = self.compute_logits(hidden)", Stage.FIRST_PROMPT, Purpose.LOGITS),
    (S, "init_memory_pool", "self.pool = MHATokenToKVPool(", Stage.CACHE, Purpose.KV_CACHE),
    (S, "forward_extend", "return self.model.forward(", Stage.FIRST_PROMPT, Purpose.WORKSPACE),
    ("/lib/sglang/srt/model_executor/cuda_graph_runner.py", "replay", "self.graphs[bs].replay()", Stage.FIRST_PROMPT, Purpose.WORKSPACE),
    (X, "alloc", "self.k = torch.zeros(self.shape, dtype = torch.half)", Stage.CACHE, Purpose.KV_CACHE),
    ("/lib/exllamav3/modules/linear.py", "load_exl3", "suh = stc.get_tensor(key)", Stage.LOAD, Purpose.WEIGHTS),
    ("/lib/transformers/cache_utils.py", "lazy_initialization", "self.keys = torch.zeros(shape)", Stage.CACHE, Purpose.KV_CACHE),
    ("/lib/ktransformers/util/utils.py", "chunk_prefill", "logits = model(", Stage.FIRST_PROMPT, Purpose.ACTIVATIONS),
)


@pytest.mark.parametrize(("file", "name", "source", "stage", "term"), DEATHS)
def test_where_a_run_died_and_of_what_follows_from_its_innermost_function(
    file: str, name: str, source: str, stage: Stage, term: Purpose
) -> None:
    first = diagnosed(f'Traceback (most recent call last):\n  File "{file}", line 9, in {name}\n    {source}\n{OOM}\n').causes[0]
    assert (first.stage, first.term) == (stage, term)


def test_attention_that_is_spelt_out_is_changed_first() -> None:
    above = 'Traceback (most recent call last):\n  File "/lib/transformers/models/qwen2/modeling_qwen2.py", line 3, in forward\n'
    plain = diagnosed(above + "    attn_weights = nn.functional.softmax(attn_weights, dim=-1)\n" + OOM).changes
    other = diagnosed(above + "    hidden = self.mlp(hidden)\n" + OOM).changes
    assert (plain[0].setting, other[0].setting) == ("attn_implementation", "context")


def test_what_a_smaller_cache_cannot_help_is_not_told_to_make_it_smaller() -> None:
    died = 'Traceback (most recent call last):\n  File "/lib/ipex_llm/vllm/xpu/worker.py", line 3, in {}\n    self.model(x)\n' + OOM
    assert "gpu_memory_utilization" not in [change.setting for change in diagnosed(died.format("profile_run")).changes]
    assert diagnosed(died.format("execute_model")).changes[0].setting == "gpu_memory_utilization"


@pytest.mark.parametrize(("number", "kind"), [(-9, Kind.HOST), (-4, Kind.ILLEGAL_INSTRUCTION), (-7, Kind.SHARED_MEMORY), (-11, Kind.BUG)])
def test_a_worker_is_known_by_the_number_that_ended_it(number: int, kind: Kind) -> None:
    said = f"RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{'EngineCore_DP0': {number}}}\n"
    assert diagnosed(said).causes[0].kind is kind
    assert not diagnosed(said.replace(str(number), "1")).causes
