"""Documents that quote logs are no logs; reports of what happened to somebody, in the same form, are diagnosed."""

from pathlib import Path

import pytest
from tests.unit.test_diagnose_forms import diagnosed

from ullage.domain.cause import Family, Kind, Stage

ROOT = Path(__file__).parents[2]
DEATH = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 786.00 MiB. GPU 0 has a total capacity of 79.19 GiB of which "
    "412.00 MiB is free."
)
GUIDE = f"""# Serving
A page about how a large model is served on one card and what can go wrong.
## Start
Start the server with its default settings, then look at what it prints while it loads:

    vllm serve some/model --max-model-len 4096

## When memory runs out
The server then ends with a line such as the following one, and a smaller batch helps:
```
{DEATH}
```
"""


@pytest.mark.parametrize("path", ["README.md", "docs/accuracy.md", "docs/cli.md"])
def test_a_page_of_this_project_is_no_log(path: str) -> None:
    assert diagnosed((ROOT / path).read_text(encoding="utf-8")).log.is_unlike


def test_a_guide_that_quotes_a_death_and_a_command_is_no_log() -> None:
    found = diagnosed(GUIDE)
    assert found.log.is_unlike
    assert "what a document quotes of logs is not taken for one" in found.notes[0]


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("# Serving\n", "# [Bug]: the server ends\n"),
        ("# Serving\n", "# Serving\n## Describe the bug\n"),
        ("# Serving\n", "# Serving\n## Environment\n"),
        ("Start the server", "I start the server"),
        ("one card and what can go wrong", "my card and what does go wrong"),
    ],
)
def test_a_report_in_the_same_form_is_diagnosed(now: str, then: str) -> None:
    assert diagnosed(GUIDE.replace(now, then)).causes[0].family is Family.DEVICE


def test_what_prose_and_pools_tell_of_how_far_a_run_was() -> None:
    prompt = diagnosed("[Bug]: HIP out of memory\nThe error occurs when the context is more than 10k tokens long.")
    assert prompt.causes[0].stage is Stage.FIRST_PROMPT
    assert diagnosed("[Bug]: OOM, which is due to the cuda graph of the backend").causes[0].kind is Kind.GRAPHS
    assert diagnosed("Loading checkpoint shards:  50%\nRuntimeError: CUDA error: out of memory").causes[0].kind is Kind.WEIGHTS
    private = DEATH + " 8.00 MiB allocated in private pools (e.g., CUDA Graphs)"
    assert diagnosed(f"INFO 01-01 00:00:00 [core.py:1] Application startup complete.\n{private}").causes[0].kind is not Kind.GRAPHS


@pytest.mark.parametrize(
    ("line", "is_stated"),
    [
        ("llm-1 exited with code 137", False),
        ("Killed", False),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,task=python3,pid=1", True),
        ("    Reason:       OOMKilled", True),
        ("Out of memory: Killed process 7 (python3) total-vm:7kB, anon-rss:6kB", True),
    ],
)
def test_a_kill_whose_reason_nobody_tells_is_a_want_of_memory_by_inference_only(line: str, *, is_stated: bool) -> None:
    first = diagnosed(f"INFO 01-01 00:00:00 [core.py:1] x\n{line}").causes[0]
    assert (first.family, first.stated) == (Family.HOST, is_stated)


def test_ggmls_pool_and_words_about_prompts_tell_that_it_served() -> None:
    pool = "  current device: 0, in function alloc at /ggml-cuda/ggml-cuda.cu:424\n  cuMemCreate(&handle, reserve_size, &prop, 0)"
    assert diagnosed(f"CUDA error: out of memory\n{pool}").causes[0].kind is Kind.ACTIVATIONS
    assert diagnosed("As soon as the context passes 6k it gives an OOM").causes[0].stage is Stage.FIRST_PROMPT


def test_a_call_in_a_traceback_that_lacks_its_middle_tells_the_stage() -> None:
    text = (
        "RuntimeError: CUDA out of memory\n"
        '  File "/venv/vllm/model_executor/models/some.py", line 321, in __init__\n'
        "    self.start_layer, self.end_layer, self.layers = make_layers(\n"
        '  File "/venv/vllm/model_executor/models/some.py", line 254, in __init__\n'
        "    self.mlp = SomeMLP(\n"
    )
    assert diagnosed(text).causes[0].kind is Kind.WEIGHTS


@pytest.mark.parametrize(
    ("line", "is_full"),
    [
        ("[2026-05-24 03:51:44 TP0] Decode batch, #running-req: 4, #full token: 2642, full token usage: 1.00, #queue-req: 3", True),
        ("[2026-05-24 03:51:44 TP0] Decode batch, #running-req: 4, #full token: 2642, full token usage: 1.00, #queue-req: 0", False),
        ("[2026-05-24 03:51:44 TP0] Decode batch, #running-req: 4, #full token: 1642, full token usage: 0.62, #queue-req: 3", False),
    ],
)
def test_a_full_pool_with_requests_that_wait_is_pressure(line: str, *, is_full: bool) -> None:
    kinds = [cause.kind for cause in diagnosed(line, engine="sglang").causes]
    assert (Kind.CACHE_PRESSURE in kinds) is is_full


def test_a_server_of_which_nothing_is_planned_is_helped_in_its_own_settings() -> None:
    found = diagnosed("lmdeploy serve api_server m --tp 2\nRuntimeError: [TM][ERROR] CUDA runtime error: out of memory memory_utils.cu:32")
    assert "LMDeploy" in found.notes[0]
    assert "cache_max_entry_count" in [change.setting for change in found.changes[:3]]
