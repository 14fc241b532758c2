"""Runs for tests, said in one line."""

from datetime import UTC, datetime, timedelta

from ullage.domain.baseline import DeviceMark, Exit, MachineMark, ModelMark, Promised, Run, Seen
from ullage.domain.case import Settings
from ullage.domain.ledger import Amount, Phase, Purpose
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.units import GiB, MiB

FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
CARD = DeviceMark(id="gpu0", kind="cuda", name="A card", total_bytes=24 * GiB)


def promised(nbytes: int, purpose: Purpose | None = Purpose.RUNTIME, phase: Phase = Phase.RESIDENT, spread: int = 200 * MiB) -> Promised:
    """What was promised on the card, give or take ``spread``."""
    return Promised(device="gpu0", purpose=purpose, phase=phase, amount=Amount(max(0, nbytes - spread), nbytes, nbytes + spread))


def seen(nbytes: int, purpose: Purpose | None = Purpose.RUNTIME, phase: Phase = Phase.RESIDENT, *, reached: bool = True) -> Seen:
    """What was seen on the card."""
    return Seen(
        device="gpu0", purpose=purpose, phase=phase, samples=9, p50_bytes=nbytes, p95_bytes=nbytes, max_bytes=nbytes, reached=reached
    )


def stored_run(number: int = 1, version: str = "0.19.0", exit: Exit = Exit.FINISHED, **changes: object) -> Run:  # noqa: A002 - the field's name
    """A run of vLLM on one card, hour by hour."""
    values = {
        "id": f"run-{number:03}",
        "started_at": FIRST_DAY + timedelta(hours=number),
        "ended_at": FIRST_DAY + timedelta(hours=number, minutes=30),
        "engine": "vllm",
        "version": version,
        "machine": MachineMark(devices=(CARD,), host_bytes=64 * GiB, driver="580.65"),
        "model": ModelMark(name="Qwen/Qwen3-8B", model_type="qwen3", architecture_hash="0123456789abcdef", scheme="bfloat16"),
        "parallel": Parallel(),
        "workload": Workload(context_tokens=4096, concurrent_sequences=4),
        "settings": Settings.of({"max_model_len": 4096}),
        "exit": exit,
        **changes,
    }
    return Run(**values)  # type: ignore[arg-type]
