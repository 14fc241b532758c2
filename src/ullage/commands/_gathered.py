"""What has been seen of a file of requests so far, and the survey it makes."""

from ullage.domain.survey import Fault, Survey
from ullage.planning.dialogues import Dialogue
from ullage.planning.requests import Asked, turns_of
from ullage.planning.survey import JointTally, Tally
from ullage.ports import Counter, DataSet, Record

_MOST_FAULTS, _MOST_TIMES = 20, 100_000


class Gathered:
    """Tallies of what was kept, faults, and reasons for which records were dropped."""

    def __init__(self) -> None:
        self.records = self.malformed = self.rewritten = self.counted_tokens = self._unanswered = self._stated = 0
        self.cut_requests = 0  # fewer than before, by what was written anew
        self.faults: list[Fault] = []
        self._reasons: dict[str, int] = {}
        self._prompt, self._output, self._total, self._turns = Tally(), Tally(), Tally(), Tally()
        self._joint = JointTally()
        self._times: list[float] = []

    def keep(self, dialogue: Dialogue, asked: tuple[Asked, ...]) -> None:
        """Count a record that stays."""
        self._turns.add(turns_of(dialogue))
        self._stated += dialogue.prompt_tokens is not None
        for one in asked:
            self._prompt.add(one.prompt_tokens)
            self._output.add(one.output_tokens)
            self._total.add(one.prompt_tokens + one.output_tokens)
            self._joint.add(one.prompt_tokens, one.output_tokens)
            self._unanswered += not one.output_tokens
        if dialogue.at_s is not None and len(self._times) < _MOST_TIMES:
            self._times.append(dialogue.at_s)

    def drop(self, reason: str) -> None:
        """Count a record that a filter takes out, under the limit that it names."""
        limit = next((word for word in reason.split() if word.startswith("--")), reason)
        self._reasons[limit] = self._reasons.get(limit, 0) + 1

    def fault(self, record: Record, why: str) -> None:
        """Count a record that could not be read."""
        self.malformed += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(Fault(record.number, record.line, why))

    def survey(self, source: str, data: DataSet, counter: Counter, notes: tuple[str, ...]) -> Survey:
        """What was seen."""
        count = self._prompt.count
        said = f"{self._unanswered:,} of {count:,} requests say no answer and count none: give --output-tokens"
        name, is_exact = counter.name, counter.is_exact
        if self._stated and self._stated == self._turns.count:  # no text was counted
            name, is_exact, notes = "the lengths that the file states", True, ()
        first = min(self._times, default=0.0)
        return Survey(
            source=source,
            format=data.format,
            tokenizer=name,
            is_exact=is_exact,
            records=self.records,
            malformed=self.malformed,
            faults=tuple(self.faults),
            dropped=tuple(sorted(self._reasons.items())),
            rewritten=self.rewritten,
            cut_requests=self.cut_requests,
            counted_tokens=self.counted_tokens,
            prompt=self._prompt.spread(),
            output=self._output.spread(),
            total=self._total.spread(),
            turns=self._turns.spread(),
            lengths=self._joint.lengths(),
            times_s=tuple(round(at - first, 6) for at in sorted(self._times)),
            notes=(data.rule, *notes, *((said,) if self._unanswered else ())),
        )
