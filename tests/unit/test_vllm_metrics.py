"""vLLM's metrics page, as releases have written it."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.domain.facts import Fact
from ullage.engines.vllm.metrics import read_metrics

OLD = """
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_swapped{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:cpu_cache_usage_perc{model_name="m"} 0.0
vllm:num_preemptions_total{model_name="m"} 7.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",gpu_memory_utilization="0.9",num_cpu_blocks="512",num_gpu_blocks="459"} 1.0
"""
NEW = """
vllm:num_requests_running{engine="0",model_name="m"} 11.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.957
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1.2e+03
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} 1.0
vllm:cache_config_info{block_size="16",engine="0",kv_cache_max_concurrency="4.35",kv_cache_size_tokens="569878",num_gpu_blocks="None"} 1.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf"} 3.0
process_resident_memory_bytes 6.5536e+08
"""


def named(facts: tuple[Fact, ...], engine: str = "") -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in facts if dict(fact.details).get("engine", "") == engine}


def test_the_page_of_v0_is_read_under_our_names() -> None:
    assert named(read_metrics(OLD)) == {
        "requests_running": 3,
        "requests_swapped": 1,
        "requests_waiting": 0,
        "kv_cache_usage": 0.25,
        "cpu_cache_usage": 0,
        "preemptions": 7,
        "kv_blocks": 459,
        "cpu_blocks": 512,
        "block_tokens": 16,
        "kv_cache_dtype": "auto",
        "utilization": 0.9,
    }


def test_the_page_of_v1_is_read_for_each_engine() -> None:
    facts = read_metrics(NEW)
    assert named(facts, "1") == {"requests_running": 3}
    first = named(facts, "0")
    assert (first["requests_running"], first["requests_waiting_capacity"], first["prefix_cache_queries"]) == (11, 9, 1200)
    assert (first["kv_tokens"], first["max_concurrency"], first["sleep_awake"]) == (569878, 4.35, 1)
    assert named(facts) == {"process_resident_bytes": 655360000}


def test_where_a_release_writes_both_names_the_new_one_counts() -> None:
    assert named(read_metrics(NEW), "0")["kv_cache_usage"] == 0.957
    swapped = "\n".join(reversed(NEW.splitlines()))
    assert named(read_metrics(swapped), "0")["kv_cache_usage"] == 0.957


def test_what_was_not_set_is_no_fact() -> None:
    assert "kv_blocks" not in named(read_metrics(NEW), "0")


@given(st.text(max_size=400))
def test_no_page_is_too_strange_to_read(page: str) -> None:
    read_metrics(page)
    read_metrics(f"vllm:kv_cache_usage_perc{{{page}}} 1")
