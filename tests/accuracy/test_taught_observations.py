"""What stored observations teach of each other: each is planned from the others of its kind, and held against what it took itself.

They count PyTorch's tensors alone, so what lies outside that count is taken to be as promised. The rule expects more copies of the logits
in a decoding step than a CPU makes; runs of the same kind have to find that out.
"""

from datetime import UTC, datetime, timedelta
from statistics import median

from tests.accuracy.observed import UNCOUNTED, observations, question

from ullage.domain.baseline import Exit, Run, Seen
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose, total
from ullage.domain.observation import Observation
from ullage.engines import find
from ullage.frozen import dataclass, replace
from ullage.planning.answer import answer
from ullage.planning.narrow import calibrated
from ullage.planning.record import run_of

ENGINE = find("transformers")
PHASES = (Phase.PREFILL, Phase.DECODE)
BYTES_SLACK = 8192  # marks of a few bytes that no rule counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One phase: promised by the rule, promised after the other runs, and seen; ``weights`` is what needs no promise."""

    phase: Phase
    rule: Amount
    taught: Amount
    seen_bytes: int
    weights_bytes: int

    def error(self, amount: Amount) -> float:
        """Relative to what lies beside the weights."""
        return abs(amount.expected - self.seen_bytes) / (self.seen_bytes - self.weights_bytes)

    def is_covered(self, amount: Amount) -> bool:
        """Whether what was seen lies within."""
        return amount.low - BYTES_SLACK <= self.seen_bytes <= amount.high + BYTES_SLACK


def alive(ledger: Ledger, phase: Phase) -> Amount:
    """What PyTorch counts in a phase."""
    parts = (entry for entry in ledger.on("device0") if entry.purpose not in UNCOUNTED and entry.phase in {phase, Phase.RESIDENT})
    return total(entry.amount for entry in parts)


def as_run(number: int, observation: Observation) -> Run:
    """An observation as this machine would have stored it."""
    plan = answer(ENGINE, question(observation), remedies=False)
    readings = []
    for reading in observation.readings:
        phases = {reading.phase, Phase.RESIDENT}
        beside = sum(e.amount.expected for e in plan.ledger.on("device0") if e.purpose in UNCOUNTED and e.phase in phases)
        nbytes = reading.peak_allocated_bytes + beside
        readings.append(
            Seen(
                device="device0",
                purpose=None,
                phase=reading.phase,
                samples=1,
                p50_bytes=nbytes,
                p95_bytes=nbytes,
                max_bytes=nbytes,
                reached=True,
            )
        )
    run = run_of(plan, id=str(number), started_at=datetime(2026, 11, 21, tzinfo=UTC) + timedelta(hours=number))
    return replace(run, seen=tuple(readings), exit=Exit.FINISHED)


def held_out() -> list[Held]:
    """Every phase of every observation that at least three others of its kind speak of."""
    runs, found = [as_run(number, one) for number, one in enumerate(observations())], []
    for number, observation in enumerate(observations()):
        case = question(observation)
        rule, taught = (engine.ledger(case) for engine in (ENGINE, calibrated(ENGINE, [run for run in runs if run.id != str(number)])))
        weights = sum(e.amount.expected for e in rule.on("device0") if e.purpose in {Purpose.WEIGHTS, Purpose.BUFFERS})
        for phase in PHASES if taught != rule else ():
            reading = observation.at(phase)
            assert reading is not None
            found.append(
                Held(
                    phase=phase,
                    rule=alive(rule, phase),
                    taught=alive(taught, phase),
                    seen_bytes=reading.peak_allocated_bytes,
                    weights_bytes=weights,
                )
            )
    return found


FOUND = held_out()


def test_some_observations_have_enough_others_of_their_kind() -> None:
    assert len(FOUND) >= 8


def test_what_runs_teach_covers_what_another_run_took() -> None:
    assert [one for one in FOUND if not one.is_covered(one.taught)] == []


def test_decoding_is_expected_within_a_tenth_where_the_rule_alone_is_off_by_half() -> None:
    decoded = [one for one in FOUND if one.phase is Phase.DECODE]
    assert median(one.error(one.rule) for one in decoded) > 0.4
    assert median(one.error(one.taught) for one in decoded) < 0.05
    assert max(one.error(one.taught) for one in decoded) < 0.1
    assert median((one.taught.high - one.taught.low) / (one.rule.high - one.rule.low) for one in decoded) < 0.6
