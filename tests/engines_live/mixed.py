"""Requests of every kind at once, and how each has to end."""

from concurrent.futures import ThreadPoolExecutor

from tests.engines_live.front import Front, Said

COUNT = 64


def kind_of(number: int) -> str:
    """A quarter is cancelled, an eighth is too long, the rest is answered whole or as a stream."""
    if number % 4 == 0:
        return "cancelled"
    if number % 8 == 1:
        return "too long"
    return "stream" if number % 2 else "whole"


def run_mixed(front: Front, model: str, too_long: int, words: int = 12, answer: int = 6) -> dict[str, list[Said]]:
    """All at once; what each kind ended in."""

    def one(number: int) -> tuple[str, Said]:
        kind = kind_of(number)
        prompt = "hello " * too_long if kind == "too long" else f"Say {number} " + "word " * (words + number % 7)
        body: dict[str, object] = {"model": model, "prompt": prompt, "max_tokens": 48 if kind == "cancelled" else answer, "temperature": 0}
        if kind == "cancelled":
            return kind, front.stream("/v1/completions", body, leave_after=1)
        return kind, front.stream("/v1/completions", body) if kind == "stream" else front.ask("/v1/completions", body)

    ended: dict[str, list[Said]] = {}
    with ThreadPoolExecutor(COUNT) as pool:
        for kind, said in pool.map(one, range(COUNT)):
            ended.setdefault(kind, []).append(said)
    return ended


def check_mixed(front: Front, ended: dict[str, list[Said]], before: dict[str, float]) -> None:
    """Everyone was told one defined thing, the guard counted each once, and nothing is held any more."""
    assert sum(map(len, ended.values())) == COUNT
    assert [said.status for said in ended["too long"]] == [400] * len(ended["too long"])
    assert all(said.body["error"]["need"] > said.body["error"]["have"] for said in ended["too long"])
    assert all(said.status == 200 and said.body["choices"][0]["finish_reason"] in {"length", "stop"} for said in ended["whole"])
    assert all(said.status == 200 and said.is_whole for said in ended["stream"])
    assert all(said.status == 200 and not said.is_whole for said in ended["cancelled"])
    front.until(lambda: front.metrics()["ullage_guard_in_flight_requests"] == 0)
    after = front.metrics()
    ends = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("ullage_guard_requests_total")}
    assert sum(ends.values()) == COUNT, ends
    assert after["ullage_guard_reserved_bytes"] == 0
    assert after["ullage_guard_waiting_requests"] == 0
