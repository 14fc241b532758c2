"""SGLang's log lines and metrics page, as recorded in threads and written by its releases."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.engines.sglang import read_log_line, read_metrics
from ullage.units import GiB

LINES = [
    ("[2025-03-27 10:00:00 TP0] Load weight begin. avail mem=78.81 GB", "free_bytes", round(78.81 * GiB)),
    (
        "Load weight end. type=DeepseekV3ForCausalLM, dtype=torch.bfloat16, avail mem=21.73 GB, mem usage=166.59 GB.",
        "weights_bytes",
        round(166.59 * GiB),
    ),
    (
        "Load weight end. elapsed=12.31 s, type=Qwen3ForCausalLM, quant=fp8, avail mem=12.25 GB, mem usage=125.65 GB.",
        "weights_bytes",
        round(125.65 * GiB),
    ),
    ("KV Cache is allocated. #tokens: 834615, K size: 54.12 GB, V size: 54.12 GB", "kv_tokens", 834615),
    ("KV Cache is allocated. dtype: torch.bfloat16, #tokens: 387968, K size: 5.92 GB, V size: 5.92 GB", "kv_tokens", 387968),
    ("KV Cache is allocated. #tokens: 1000, KV size: 3.00 GB", "kv_tokens", 1000),
    (
        "Post-capture KV sizing: KV cache allocated. dtype: torch.bfloat16, #tokens: 99, KV size: 3.00 GB, avail mem=2.00 GB",
        "kv_tokens",
        99,
    ),
    ("Mamba Cache is allocated. max_mamba_cache_size: 82, conv_state size: 0.13GB, ssm_state size: 7.29GB", "state_slots", 82),
    ("Use sliding window memory pool. full_layer_tokens=375360, swa_layer_tokens=300288", "full_tokens", 375360),
    ("Memory pool end. avail mem=14.61 GB", "free_after_pool_bytes", round(14.61 * GiB)),
    ("Capture cuda graph end. Time elapsed: 19.50 s. mem usage=6.19 GB. avail mem=5.24 GB.", "graph_bytes", round(6.19 * GiB)),
    ("Capture decode cuda graph end. Time elapsed: 9.5 s, mem usage=0.70 GB, avail mem=5.24 GB", "graph_bytes", round(0.70 * GiB)),
    (
        (
            "max_total_num_tokens=414045, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=2048, "
            "context_len=40960, available_gpu_mem=9.87 GB"
        ),
        "max_total_tokens",
        414045,
    ),
    (
        "Decode batch. #running-req: 12, #token: 34567, token usage: 0.42, cuda graph: True, #queue-req: 0",
        "kv_cache_usage",
        0.42,
    ),
    ("KV cache pool is full. Retract requests. #retracted_reqs: 3, #new_token_ratio: 0.7 -> 0.9", "retracted", 3),
]
ERRORS = [
    ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "error.no_kv_blocks"),
    (
        (
            "ValueError: Loaded weights leave no GPU memory for the KV cache under "
            "--mem-fraction-static=0.88. Raise --mem-fraction-static above 0.912"
        ),
        "error.no_kv_blocks",
    ),
    ("Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 2.00 GiB.", "error.graph_capture"),
    ("Prefill out of memory. Try to lower your batch size.", "error.prefill_oom"),
    ("Decode out of memory. Try to lower your batch size.", "error.decode_oom"),
    ("RuntimeError: alloc_req_slots runs out of memory. Please set a smaller number for `--max-running-requests`.", "error.request_slots"),
    ("ValueError: SWA pool (900 tokens) cannot hold even one request: the prefill admission floor is", "error.window_pool"),
    ("ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes.", "error.unbalanced"),
    ("max_total_tokens=131072 is larger than the profiled value -561981. Use the profiled value instead.", "error.total_tokens"),
    ("ValueError: The input (9000 tokens) is longer than the model's context length (8192 tokens).", "error.prompt_too_long"),
    (
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 80.04 GiB. GPU 3 has a total capacity of 79.10 GiB of which "
            "20.08 GiB is free."
        ),
        "error.torch_oom",
    ),
]


@pytest.mark.parametrize(("line", "name", "value"), LINES)
def test_a_line_states_its_fact(line: str, name: str, value: float) -> None:
    fact = read_log_line(line)
    assert fact is not None
    assert (fact.name, fact.value) == (name, value)


@pytest.mark.parametrize(("line", "name"), ERRORS)
def test_an_error_is_named(line: str, name: str) -> None:
    fact = read_log_line(line)
    assert fact is not None
    assert fact.name == name


def test_keys_and_values_are_summed() -> None:
    fact = read_log_line(LINES[3][0])
    assert fact is not None
    assert dict(fact.details)["kv_bytes"] == 2 * round(54.12 * GiB)


def test_a_refusal_states_the_fraction_and_the_least_one() -> None:
    fact = read_log_line(ERRORS[1][0])
    assert fact is not None
    assert dict(fact.details) == {"utilization": 0.88, "least": 0.912}


PAGE = """# HELP sglang:token_usage The token usage.
sglang:token_usage{model_name="m",tp_rank="0"} 0.28
sglang:swa_token_usage{model_name="m",tp_rank="0"} 0.5
sglang:max_total_num_tokens{model_name="m"} 414045.0
sglang:num_running_reqs{model_name="m"} 7
sglang:weight_memory_usage_gb{model_name="m"} 15.5
sglang:gen_throughput{model_name="m"} NaN
"""


def test_the_metrics_page_gives_usage_and_sizes() -> None:
    facts = {fact.name: fact.value for fact in read_metrics(PAGE)}
    assert facts == {
        "kv_cache_usage": 0.28,
        "window_cache_usage": 0.5,
        "max_total_tokens": 414045,
        "requests_running": 7,
        "weights_bytes": round(15.5 * GiB),
    }


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_line_raises(text: str) -> None:
    read_log_line(text)
    read_log_line(f"KV Cache is allocated. #tokens: {text}")
