"""What a request costs is what the engine's own arithmetic says."""

import itertools
from typing import Any

import pytest
from tests.cases import A100, bundled, vllm_case
from tests.conformance.test_commands_read_back import ask
from tests.llama_cpp_cases import devices, settled

from ullage.domain.admission import Arrived, CostModel, EngineReady, Limits, Refuse, Tick
from ullage.domain.case import Case
from ullage.domain.ledger import Phase
from ullage.domain.machine import Device, Machine
from ullage.domain.workload import Workload
from ullage.engines import engines, find
from ullage.engines.vllm.capacity import scarcest, sequence_blocks
from ullage.frozen import replace
from ullage.planning.admit import begin, step
from ullage.planning.answer import answer
from ullage.planning.cost_model import cost_model, holding, lengths
from ullage.planning.pool import pool_of
from ullage.planning.pool_forecast import Growing, forecast
from ullage.planning.search import solve
from ullage.units import GiB


def cost_of(case: Case) -> CostModel:
    engine = find(case.engine)
    return cost_model(engine, case, engine.ledger(case))


@pytest.mark.parametrize("name", ["Qwen3-8B", "gemma-3-4b-it", "Qwen3-Next-80B-A3B-Instruct"])
def test_a_sequence_costs_the_blocks_that_vllm_gives_it(name: str) -> None:
    case = vllm_case(name, "0.10.2", (A100[0], 190.0, A100[2]), max_num_seqs=64)
    cost, pool = cost_of(case), scarcest(case).pool
    at_page_ends = [tokens for tokens, _ in cost.steps]
    assert [cost.cost_bytes(tokens) for tokens in at_page_ends] == [sequence_blocks(case, pool, t) * pool.block_bytes for t in at_page_ends]
    between = [at_page_ends[-1] * part // 57 + 1 for part in range(56)]
    for tokens in between:
        assert cost.cost_bytes(tokens) >= sequence_blocks(case, pool, tokens) * pool.block_bytes


@pytest.mark.parametrize(
    ("release", "environment", "withheld"),
    [("0.30.0", (), 1), ("0.10.2", (), 1), ("0.10.2", (("VLLM_USE_V1", "0"),), 0)],
    ids=["checked at start", "not checked", "V0"],
)
def test_the_block_that_v1_gives_to_no_sequence_is_in_the_stated_tokens_and_not_in_the_pool(
    release: str, environment: tuple[tuple[str, str], ...], withheld: int
) -> None:
    """A length of as many blocks as there are starts where that is not checked, and then waits for ever (vllm-project/vllm#35541)."""
    settings: dict[str, Any] = {"num_gpu_blocks_override": 100, "max_model_len": 1600 if release == "0.10.2" else 1584}
    case = vllm_case("Qwen3-8B", release, environment=environment, **settings)
    engine, cost = find("vllm"), cost_of(case)
    block = cost.cost_bytes(1)
    assert engine.capacity(case, engine.ledger(case)).kv_tokens.expected == 1600
    assert not engine.objections(case)
    assert cost.pool_bytes == (100 - withheld) * block
    assert cost.longest_tokens == (100 - withheld) * 16
    plan = answer(engine, replace(case, workload=Workload(context_tokens=1584, concurrent_sequences=1)), remedies=False)
    pool = pool_of(engine, plan, 1600)
    assert pool is not None
    assert pool.nbytes == cost.pool_bytes


def test_the_longest_is_what_the_engine_was_told_where_the_pool_holds_more() -> None:
    assert cost_of(vllm_case("Qwen3-8B", "0.10.2", max_model_len=8192)).longest_tokens == 8192
    assert cost_of(vllm_case("Qwen3-8B", "0.10.2", max_model_len=8192, max_num_seqs=32)).most_sequences == 32


def test_a_dual_chunk_prefill_bounds_the_prompt_by_its_workspace() -> None:
    case = vllm_case("Qwen2.5-7B-Instruct-1M", "0.9.1", max_model_len=1_010_000, environment=(("VLLM_USE_V1", "0"),), enforce_eager=True)
    cost, engine = cost_of(case), find("vllm")
    longest = cost.longest_prompt_tokens
    assert longest is not None
    assert longest < cost.longest_tokens
    for tokens, fits in ((longest, True), (longest + 1, False)):
        ledger = engine.ledger(replace(case, workload=Workload(context_tokens=tokens)))
        assert (ledger.at("gpu0", Phase.PREFILL).expected <= case.devices[0].total_bytes) is fits


def test_a_cache_of_one_piece_is_shared_by_its_cells() -> None:
    cost = cost_of(settled("Qwen3-8B", "Q4_K_M", devices(24), ctx_size=16384, n_parallel=4))
    assert cost.most_sequences == 4
    assert cost.cost_bytes(cost.longest_tokens) <= cost.pool_bytes
    assert 2 * cost.cost_bytes(1024) == cost.cost_bytes(2048)


def test_lengths_are_page_ends_that_stay_close_to_one_another() -> None:
    found = lengths(100_003, 16)
    assert found[-1] == 100_003
    assert all(at % 16 == 0 for at in found[:-1])
    assert all(later - at <= max(16, at // 100) for at, later in itertools.pairwise(found))


COST = CostModel(
    pool_bytes=1000, steps=tuple((t, t) for t in range(10, 1001, 10)), longest_tokens=500, most_sequences=8, longest_prompt_tokens=400
)


def test_a_prompt_whose_workspace_does_not_fit_is_refused_with_the_longest_that_does() -> None:
    state, _ = step(begin(COST), EngineReady(at=0))
    _, actions = step(state, Arrived(id="a", client="c", prompts=(401,), answer_tokens=1, at=0))
    assert isinstance(actions[0], Refuse)
    assert (actions[0].need, actions[0].have, actions[0].longest_tokens) == (401, 400, 400)


def test_a_forecast_says_when_the_pool_is_full() -> None:
    seen = forecast(COST, [Growing(tokens=300, most_tokens=500, tokens_per_s=10, sequences=3)], 8)
    assert seen.points[0] == (0, 900)
    assert seen.full_in_s is not None
    assert 2 <= seen.full_in_s <= 4


def test_with_a_look_ahead_more_is_let_in_than_the_worst_case_would_allow() -> None:
    """Three answers of at most 400 tokens would pass the pool; at two tokens a second none of them comes near it within ten seconds."""

    def let_in(limits: Limits) -> int:
        state, _ = step(begin(COST, limits), EngineReady(at=0))
        for index in range(4):
            state, _ = step(state, Arrived(id=str(index), client="c", prompts=(50,), answer_tokens=350, at=float(index)))
            state, _ = step(state, Tick(at=index + 0.5, generated=tuple((name, index + 1) for name in state.in_flight)))
        return len(state.in_flight)

    assert let_in(Limits()) == 2
    assert let_in(Limits(ahead_s=10)) == 4


def test_an_answer_of_no_stated_length_reserves_what_is_usual_and_grows_when_it_goes_on() -> None:
    state, _ = step(begin(COST, Limits(answer_tokens=50)), EngineReady(at=0))
    state, _ = step(state, Arrived(id="a", client="c", prompts=(100,), answer_tokens=None, at=0))
    assert state.reserved_bytes == 150
    state, _ = step(state, Tick(at=1, generated=(("a", 80),)))
    assert state.reserved_bytes == 220


def test_no_more_are_let_in_than_the_command_of_a_plan_lets_run() -> None:
    """A plan may leave open how many run at once; the engine that its command starts does not."""
    device = Device(id="cpu", kind="cpu", name="a processor", total_bytes=64 * GiB)
    engine, machine = find("runtime"), Machine(devices=(device,))
    case = engine.resolve(Case(model=bundled("Qwen3-8B"), engine="runtime", version=engine.profile.default, machine=machine))
    assert engine.capacity(holding(case, 256), engine.ledger(case)).max_sequences.expected > 16
    assert cost_of(case).most_sequences == case.settings.integer("max_seqs") == 16


def test_more_sequences_than_the_cache_holds_are_told_how_many_it_holds() -> None:
    cost = CostModel(pool_bytes=1000, steps=((16, 100), (64, 400)), longest_tokens=64, most_sequences=16)
    _, effects = step(begin(cost), Arrived(id="a", client="b", prompts=(3,) * 11, answer_tokens=1, at=0.0))
    refused = next(effect for effect in effects if isinstance(effect, Refuse))
    assert "11 sequences of 4 tokens" in refused.what
    assert "the cache holds 10 of them; ask for fewer" in refused.what


def test_a_text_that_was_not_counted_to_its_end_needs_at_least_so_many() -> None:
    cost = CostModel(pool_bytes=1000, steps=((16, 100), (64, 400)), longest_tokens=64, most_sequences=16)
    _, effects = step(begin(cost), Arrived(id="a", client="b", prompts=(500,), answer_tokens=1, at=0.0, is_least=True))
    refused = next(effect for effect in effects if isinstance(effect, Refuse))
    assert "needs at least 501 tokens" in refused.what
    assert "shorten the prompt by at least 437 tokens" in refused.what


@pytest.mark.parametrize("name", sorted(engines()))
def test_a_stated_context_bounds_the_longest_sequence_of_every_engine(name: str) -> None:
    """Where the engine takes no length, as the server of Transformers, the guard alone holds requests to it."""
    engine = find(name)
    case = ask(engine, engine.profile.default, ("Qwen3-8B", 79.19, 1, 8192, 2))
    plan = solve(engine, case, remedies=False)
    longest = cost_model(engine, plan.case, plan.ledger).longest_tokens
    page = engine.capacity(plan.case, plan.ledger).block_tokens
    assert 8192 <= longest < 8192 + page
