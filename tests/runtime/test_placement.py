"""A model over several devices: the same tokens, pages of all devices together or none, and as many bytes on each as planned."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tests.runtime.engines import answers, small, words
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.commands.model import read_model
from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.ledger import Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.runtime import ENGINE
from ullage.engines.runtime.resolve import shares
from ullage.engines.runtime.settings import split_of
from ullage.engines.runtime.versions import DEFAULT
from ullage.engines.runtime.weights import how, resident
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.runtime import options
from ullage.runtime.cache.pool import Pool
from ullage.runtime.engine import Engine, EngineSettings, Request
from ullage.runtime.load import Loaded, load
from ullage.runtime.ready import make_ready
from ullage.units import GiB
from ullage.world.real import RealModels

CPU = torch.device("cpu")
FAMILIES = ("llama", "qwen3", "gemma2", "mistral", "gpt_oss", "qwen3_moe", "deepseek_v2", "qwen2_dual_chunk")
SPLITS = ((2, 2), (1, 3), (1, 2, 1), (4, 0), (0, 4))


@cache
def folder(name: str) -> str:
    return str(tiny_model(Path(mkdtemp()), TINY_CONFIGS[name]))


@cache
def spread(
    name: str, split: tuple[int, ...], dtype: torch.dtype = torch.float32, weights: str = "native", room: int | None = None
) -> Loaded:
    return load(folder(name), dtype=dtype, device=CPU, devices=(CPU,) * len(split), split=split, weights=weights, staged_experts=room)


def requests() -> list[Request]:
    return [Request(prompt=words(seed, length), max_new_tokens=12) for seed, length in enumerate((5, 90, 33, 61))]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("split", SPLITS)
def test_several_devices_answer_with_the_tokens_of_one(name: str, split: tuple[int, ...]) -> None:
    over = EngineSettings(budget_bytes=1 << 30, max_len=256, page_tokens=8, chunk_tokens=64)
    assert answers(Engine(spread(name, split), over), requests()) == answers(small(name), requests())


def planned(name: str, split: tuple[int, ...], context: int, **settings: Value) -> Case:
    devices = tuple(Device(id=f"cpu:{at}", kind="cpu", name="CPU", total_bytes=4 * GiB) for at in range(len(split)))
    said = {"split": ",".join(map(str, split)), **settings}
    return ENGINE.resolve(
        Case(
            model=model(name),
            engine="runtime",
            version=DEFAULT,
            machine=Machine(devices=devices),
            parallel=Parallel(pipeline=len(split)),
            workload=Workload(context_tokens=context),
            settings=Settings.of(said),
            stated=frozenset({*said, "parallel"}),
        )
    )


@cache
def model(name: str) -> Model:
    return read_model(folder(name), RealModels(offline=True)).model


def of(case: Case, purpose: Purpose) -> list[int]:
    ledger = ENGINE.ledger(case)
    return [ledger.of(device.id, purpose).expected for device in case.devices]


@pytest.mark.parametrize("name", ["llama", "llama_tied", "gemma2", "gpt_oss", "qwen3_moe", "deepseek_v3"])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("dtype", "weights"), [(torch.float32, "native"), (torch.bfloat16, "int4")])
def test_weights_are_as_many_bytes_on_each_device_as_planned(name: str, split: tuple[int, ...], dtype: torch.dtype, weights: str) -> None:
    loaded = spread(name, split, dtype, weights)
    case = planned(name, split, 100, dtype=str(dtype).removeprefix("torch."), weights=weights)
    assert not ENGINE.objections(case)
    assert [stage.weight_bytes for stage in loaded.decoder.stages] == of(case, Purpose.WEIGHTS)
    assert [scratch.nbytes for scratch in loaded.scratches] == [share.scratch for share in shares(case)]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "deepseek_v2"])
@pytest.mark.parametrize("split", SPLITS)
def test_pages_are_as_many_bytes_on_each_device_as_planned(name: str, split: tuple[int, ...]) -> None:
    case = planned(name, split, 301, dtype="float32", chunk=48, page_tokens=16)
    pool = pool_of(spread(name, split))
    tables, most = pool.new_tables(), [0] * len(split)
    for start in range(0, 300, 48):
        assert pool.grow(tables, min(start + 48, 300))
        most = [max(pair) for pair in zip(most, pool.taken_on(), strict=True)]
        pool.slide(tables, min(start + 48, 300))
    assert most == of(case, Purpose.KV_CACHE)


def pool_of(loaded: Loaded, budgets: tuple[int, ...] = ()) -> Pool:
    return Pool(
        loaded.groups,
        budget_bytes=1 << 40,
        page_tokens=16,
        lanes=2,
        lane_tokens=512,
        dtype=loaded.dtype,
        device=CPU,
        devices=loaded.devices,
        budgets=budgets,
    )


def test_pages_of_all_devices_are_taken_together_or_not_at_all() -> None:
    loaded = spread("llama", (1, 3))
    one = pool_of(loaded).arenas[0].page_bytes
    pool = pool_of(loaded, (10 * one, 3 * 4 * one))
    tables = pool.new_tables()
    assert pool.grow(tables, 4 * 16)
    assert pool.taken_on() == [4 * one, 12 * one]
    assert not pool.grow(tables, 5 * 16)
    assert pool.taken_on() == [4 * one, 12 * one]
    assert [len(table.pages) for table in tables] == [4, 4]


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("swap_bytes", [0, 1 << 20])
@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3_moe"])
def test_a_device_that_is_short_makes_requests_wait_and_changes_no_token(name: str, short: int, swap_bytes: int) -> None:
    loaded = spread(name, (2, 2))
    free = Engine(loaded, EngineSettings(budget_bytes=1 << 30, max_len=256, page_tokens=8, chunk_tokens=64))
    needs = [room.form.peak_bytes(101, 8) for room in free._housing.rooms()]
    budgets = tuple(need if at == short else 100 * need for at, need in enumerate(needs))
    tight = Engine(
        loaded,
        EngineSettings(
            budget_bytes=sum(budgets),
            budgets=budgets,
            max_len=256,
            page_tokens=8,
            chunk_tokens=64,
            swap_bytes=swap_bytes,
            reserve_tokens=0,
        ),
    )
    for request in requests():
        tight.submit(request)
    found: dict[int, list[int]] = {}
    while tight.has_work:
        for output in tight.step():
            assert output.token is not None
            found.setdefault(output.id, []).append(output.token)
        assert all(taken <= budget for taken, budget in zip(tight._housing.pool.taken_on(), budgets, strict=True))
    assert list(dict(sorted(found.items())).values()) == answers(small(name), requests())
    too_long = Request(prompt=words(9, 150), max_new_tokens=10)
    assert tight.refusal(too_long) is not None
    assert free.refusal(too_long) is None


def test_hidden_rows_are_moved_at_borders_only(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(spread("llama", (1, 2, 1)), EngineSettings(budget_bytes=1 << 30, max_len=256, page_tokens=8, chunk_tokens=64))
    engine.submit(Request(prompt=words(0, 40), max_new_tokens=1))
    moved = []
    plainly = torch.Tensor.to

    def to(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if self.shape == (40, 64) and args and isinstance(args[0], torch.device):
            moved.append(args[0])
        return plainly(self, *args, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(torch.Tensor, "to", to)
    engine.step()
    assert len(moved) == 3


@pytest.mark.parametrize("split", [(4,), (2, 2), (3, 1)])
@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss", "deepseek_v3"])
@pytest.mark.parametrize("room", [2, 1000])
def test_experts_on_the_host_are_counted_there_and_their_room_on_each_device(name: str, split: tuple[int, ...], room: int) -> None:
    loaded = spread(name, split, room=room)
    case = planned(name, split, 100, dtype="float32", host_experts=room)
    assert [staging.nbytes for staging in loaded.stagings] == of(case, Purpose.BUFFERS)
    on_host = [staging.host_bytes for staging in loaded.stagings]
    assert min(on_host) > 0
    on_device = [stage.weight_bytes - nbytes for stage, nbytes in zip(loaded.decoder.stages, on_host, strict=True)]
    on_device[0] += sum(on_host)  # on processors the first one's memory is the host's
    assert on_device == of(case, Purpose.WEIGHTS)


def test_experts_beside_an_accelerator_lie_on_the_host_in_the_ledger() -> None:
    there = Machine(
        devices=(Device(id="gpu0", kind="cuda", name="card", total_bytes=4 * GiB),),
        host=Device(id="host", kind="cpu", name="host", total_bytes=4 * GiB),
    )
    asked = replace(planned("qwen3_moe", (4,), 100, dtype="float32"), machine=there, settings=Settings.of({"host_experts": 3}))
    case = ENGINE.resolve(asked)
    found, ledger = resident(case.model, how(case)), ENGINE.ledger(case)
    assert ledger.of("host", Purpose.WEIGHTS).expected == sum(found.experts) > 0
    assert ledger.of("gpu0", Purpose.WEIGHTS).expected == found.nbytes - sum(found.experts)
    assert ledger.of("gpu0", Purpose.BUFFERS).expected == 3 * max(found.expert)
    assert "--host-experts 3" in " ".join(ENGINE.command(case).argv)


def test_a_split_that_nobody_said_leaves_the_fullest_device_the_most_and_is_told_to_the_runtime() -> None:
    case = planned("llama", (2, 2), 300)
    asked = replace(case, settings=Settings.of({"dtype": "float32"}), stated=frozenset({"parallel"}))
    resolved = ENGINE.resolve(asked)
    split = split_of(resolved.settings.text("split") or "")
    assert sum(split) == 4

    def fullest(split: tuple[int, ...]) -> int:
        one = planned("llama", split, 300, dtype="float32")
        sums = zip(of(one, Purpose.WEIGHTS), of(one, Purpose.KV_CACHE), strict=True)
        return max(map(sum, sums))

    assert fullest(split) == min(fullest((first, 4 - first)) for first in range(5))
    words_ = ENGINE.command(resolved).argv
    assert words_[words_.index("--split") + 1] == resolved.settings.text("split")
    assert words_[words_.index("--device") + 1] == "cpu:0,cpu:1"
    request = ENGINE.read_command(words_, {}, None)
    assert request is not None
    assert request.parallel.pipeline == 2


def test_a_device_without_the_head_needs_no_logits_and_no_draw() -> None:
    ledger = ENGINE.ledger(planned("llama", (2, 2), 300))
    assert ledger.of("cpu:0", Purpose.LOGITS).high == 0 < ledger.of("cpu:1", Purpose.LOGITS).high


@pytest.mark.parametrize(("split", "said"), [("1,2", "4 layers are to lie on 2 devices"), ("4", "this says 4 on 1")])
def test_a_split_that_is_not_the_models_is_refused_by_plan_and_runtime(split: str, said: str) -> None:
    case = planned("llama", (2, 2), 100).with_settings(split=split)
    assert any(said in objection.text for objection in ENGINE.objections(case))
    with pytest.raises(InputError, match=said):
        make_ready(options.read((folder("llama"), "--device", "cpu:0,cpu:1", "--split", split))[0])


def test_experts_of_a_model_without_any_cannot_lie_on_the_host() -> None:
    with pytest.raises(InputError, match="has none"):
        make_ready(options.read((folder("llama"), "--host-experts", "2"))[0])


@pytest.mark.parametrize("words_", [(), ("--split", "1,3"), ("--cache", "256KiB"), ("--host-experts", "2")])
def test_the_command_line_makes_an_engine_over_several_devices(words_: tuple[str, ...]) -> None:
    flags = ("--device", "cpu:0,cpu:1", "--dtype", "float32", "--max-len", "256", "--memory", "3GiB", "--page-tokens", "8")
    ready = make_ready(options.read((folder("qwen3_moe"), *flags, *words_))[0])
    assert len(ready.loaded.decoder.stages) == len(ready.sized.budgets) == 2
    assert sum(ready.sized.budgets) == ready.sized.cache_bytes
    assert ready.promised["weights"] == ready.loaded.decoder.weight_bytes
    assert answers(ready.engine, requests()[:2]) == answers(small("qwen3_moe"), requests()[:2])
