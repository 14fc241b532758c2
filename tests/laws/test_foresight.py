"""What is let in by the forecast stays within the pool where sequences grow and end as they were forecast."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.test_admission import model

from ullage.domain import admission as a
from ullage.domain.foresight import Foresight
from ullage.planning.admit import begin, step
from ullage.planning.foresight import Life, peak_bytes

COST = model(pages=64, longest=512, most=64)
requests = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 200), st.integers(1, 25)), min_size=1, max_size=25)


class Truth:
    """An engine that gives every sequence ``pace`` tokens a second and ends it where it is told to."""

    def __init__(self, pace: int, ahead_s: float, answers: tuple[int, ...] = (), foresight: Foresight | None = None) -> None:
        known = foresight or Foresight(source="a law", tokens_per_s=float(pace), answers=answers)
        self.state, _ = step(begin(COST, a.Limits(ahead_s=ahead_s, queue_requests=99, deadline_s=1e9), known), a.EngineReady(at=0.0))
        self.pace, self.made, self.at = pace, dict[str, int](), 0.0
        self.ends: dict[str, int] = {}
        self.most_bytes = 0
        self.most_running = self.ahead = 0

    def tell(self, event: a.Event) -> None:
        self.state, actions = step(self.state, event)
        for action in actions:
            if isinstance(action, a.Admit):
                self.made[action.id] = 0
                self.ahead += action.ahead

    def look(self) -> None:
        held = sum(COST.cost_bytes(self.state.in_flight[name].prompts[0] + made) for name, made in self.made.items())
        self.most_bytes, self.most_running = max(self.most_bytes, held), max(self.most_running, len(self.made))

    def run(self, drawn: list[tuple[int, int, int]], answer: int | None = None) -> None:
        coming = sorted(enumerate(drawn), key=lambda one: one[1][0])
        while coming or self.state.waiting or self.made:
            while coming and coming[0][1][0] <= self.at:
                number, (_, prompt, most) = coming.pop(0)
                self.ends[str(number)] = most if answer is None else min(most, answer)
                self.tell(a.Arrived(id=str(number), client="c", prompts=(prompt,), answer_tokens=most, at=self.at))
            self.look()
            self.at += 1.0
            for name in self.made:
                self.made[name] = min(self.ends[name], self.made[name] + self.pace)
            self.look()
            self.tell(a.Tick(at=self.at, generated=tuple(self.made.items())))
            for name in [name for name, made in self.made.items() if made >= self.ends[name]]:
                del self.made[name]
                self.tell(a.Finished(id=name, at=self.at, generated=self.ends[name]))


@settings(max_examples=150, deadline=None)
@given(requests, st.integers(1, 40), st.sampled_from((1.0, 5.0, 30.0)))
def test_the_pool_is_never_passed_where_answers_are_as_long_as_they_say(drawn: list[tuple[int, int, int]], pace: int, ahead: float) -> None:
    truth = Truth(pace, ahead)
    truth.run([(at, prompt, seconds * pace) for at, prompt, seconds in drawn])
    assert truth.most_bytes <= COST.pool_bytes


@settings(max_examples=150, deadline=None)
@given(requests, st.integers(1, 40), st.integers(1, 25), st.sampled_from((1.0, 5.0, 30.0)))
def test_nor_where_they_are_as_long_as_those_before(drawn: list[tuple[int, int, int]], pace: int, answer: int, ahead: float) -> None:
    truth = Truth(pace, ahead, answers=(answer * pace,) * 20)
    truth.run([(at, prompt, seconds * pace) for at, prompt, seconds in drawn], answer * pace)
    assert truth.most_bytes <= COST.pool_bytes


def test_short_answers_seen_before_let_more_run_than_the_worst_case_does_and_it_is_said() -> None:
    """Each may take 300 tokens of answer and takes 20; in the worst case the pool of 1,024 holds three."""
    drawn = [(0, 10, 300)] * 12
    usual, seen = Truth(10, 0.0), Truth(10, 30.0, answers=(20,) * 20)
    for truth in (usual, seen):
        truth.run(drawn, 20)
    assert (usual.most_running, usual.ahead) == (3, 0)
    assert seen.most_running == 12
    assert seen.ahead > 0


def test_answers_that_their_clients_cut_do_not_make_anothers_short() -> None:
    """Twenty of 16 tokens that asked for no more; then ones that may take 300, of which the pool of 1,024 holds three."""
    truth = Truth(10, 30.0)
    truth.run([(0, 10, 16)] * 20)
    for name in "abcde":
        truth.tell(a.Arrived(id=name, client="c", prompts=(10,), answer_tokens=300, at=truth.at))
    assert len(truth.state.in_flight) == 3


def test_what_would_fit_now_and_collide_later_waits() -> None:
    """Three of 100 tokens now, 400 later: a fourth fits today, and would pass the pool before any of them ends."""
    truth = Truth(10, 60.0)
    truth.run([(0, 40, 300)] * 3)
    assert truth.most_bytes <= COST.pool_bytes
    waiting = Truth(10, 60.0)
    for name in "abc":
        waiting.ends[name] = 300
        waiting.tell(a.Arrived(id=name, client="c", prompts=(40,), answer_tokens=300, at=0.0))
    assert len(waiting.state.in_flight) == 2
    assert [ticket.id for ticket in waiting.state.waiting] == ["c"]


def test_without_a_pace_that_anybody_knows_the_worst_case_holds() -> None:
    blind = Truth(10, 30.0, foresight=Foresight(source="nobody", answers=(20,) * 20))
    for index in range(5):
        blind.tell(a.Arrived(id=str(index), client="c", prompts=(10,), answer_tokens=300, at=0.0))
    assert len(blind.state.in_flight) == 3


def test_growth_beyond_the_rules_holds_back_what_the_rules_would_let_in() -> None:
    known = Foresight(source="runs", tokens_per_s=10.0, growth=2.0)
    grown = Truth(10, 30.0, foresight=known)
    for index in range(5):
        grown.tell(a.Arrived(id=str(index), client="c", prompts=(10,), answer_tokens=200, at=0.0))
    assert len(grown.state.in_flight) == 2


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 300), st.integers(1, 20)), max_size=12), st.floats(0, 40))
def test_a_forecast_is_no_less_than_any_moment_of_what_it_forecasts(drawn: list[tuple[int, int, int]], ahead: float) -> None:
    lives = [Life(float(tokens), tokens + more, float(pace)) for tokens, more, pace in drawn]
    peak = peak_bytes(COST, lives, ahead)
    for seconds in {0.0, *(life.ends_in_s for life in lives), *(life.ends_in_s / 2 for life in lives)}:
        held = sum(
            COST.cost_bytes(int(min(one.end_tokens, one.tokens + one.tokens_per_s * seconds))) for one in lives if one.ends_in_s >= seconds
        )
        assert held <= peak


@given(st.lists(st.integers(1, 500), max_size=60).map(sorted), st.integers(1, 500), st.lists(st.floats(0, 60), min_size=2, max_size=9))
def test_fewer_stay_the_later_it_is_and_none_beyond_its_longest(seen: list[int], most: int, moments: list[float]) -> None:
    life = Life(0.0, most, 10.0, seen)
    shares = [life.stays(at) for at in sorted(moments)]
    assert shares == sorted(shares, reverse=True)
    assert life.stays(0.0) == 1
    assert life.stays(most / 10.0) == 0
    assert 0 <= life.ends_in_s <= most / 10.0


def test_many_of_uncertain_length_take_about_their_average_and_one_alone_its_longest() -> None:
    """One answer in ten takes 300 tokens and the others 20: of 30 at once, three are long on average, and hardly ever nine."""
    answers = sorted([20] * 90 + [300] * 10)
    alone, many = (peak_bytes(COST, [Life(1.0, 301, 10.0, answers, 0, 1)] * count, 30.0) for count in (1, 30))
    assert many < 9 * COST.cost_bytes(301) + 21 * COST.cost_bytes(21)
    assert many > 3 * COST.cost_bytes(301)
    assert alone > COST.cost_bytes(21)


def test_a_forecast_that_is_wrong_is_soon_given_up() -> None:
    """Two hundred answers before took 20 tokens, these take 100, of which the pool of 1,024 holds nine: every dozen fewer are let in."""
    truth = Truth(10, 30.0, answers=(20,) * 200)
    seen = []
    for hour in range(6):
        for number in range(40):
            truth.tell(a.Arrived(id=f"{hour} {number}", client="c", prompts=(10,), answer_tokens=100, at=100.0 * hour))
        seen.append(len(truth.state.in_flight))
        for number in range(28):
            truth.tell(a.Cancelled(id=f"{hour} {39 - number}", at=100.0 * hour))
        for number in range(12):
            truth.tell(a.Finished(id=f"{hour} {number}", at=100.0 * hour + 10, generated=100))
    assert seen[0] >= 24
    assert seen[1] <= 20
    assert seen[-1] <= 11


def test_a_pace_is_learned_from_answers_that_come_in_one_piece() -> None:
    truth = Truth(10, 30.0, foresight=Foresight(source="a workload", answers=(20,) * 20))
    for number in range(9):
        truth.tell(a.Arrived(id=str(number), client="c", prompts=(10,), answer_tokens=300, at=0.0))
    assert len(truth.state.in_flight) == 3
    truth.tell(a.Finished(id="0", at=2.0, generated=20))
    assert len(truth.state.in_flight) == 8
