"""How each family with experts routes, from its configuration."""

from collections.abc import Callable
from typing import Final

from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.runtime.model.traits import Routing, Scoring


def read(config: Hyperparameters, model_type: str) -> Routing:
    """Raises UnsupportedModelError for a way of routing that is not run."""
    return _ROUTINGS[model_type](config)


def _qwen(config: Hyperparameters) -> Routing:
    return Routing(scoring=Scoring.SOFTMAX, normalised=config.flag("norm_topk_prob", default=False))


def _mixtral(config: Hyperparameters) -> Routing:
    del config  # there is nothing to choose
    return Routing(scoring=Scoring.SOFTMAX, normalised=True)


def _gpt_oss(config: Hyperparameters) -> Routing:
    del config
    return Routing(scoring=Scoring.SOFTMAX_PICKED, normalised=True)


def _deepseek_v2(config: Hyperparameters) -> Routing:
    method = config.text_or("topk_method", "greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise UnsupportedModelError(f"topk_method is {method[:40]!r}; of this family greedy and group_limited_greedy are run")
    if config.text_or("scoring_func", "softmax") != "softmax" or config.flag("norm_topk_prob", default=False):
        raise UnsupportedModelError("this family is run with scoring_func softmax and norm_topk_prob false")
    grouped = method == "group_limited_greedy"
    return Routing(
        scoring=Scoring.SOFTMAX,
        normalised=False,
        factor=config.number_or("routed_scaling_factor", 1.0),
        groups=config.integer_or("n_group", 1, low=1) if grouped else 1,
        picked_groups=config.integer_or("topk_group", 1, low=1) if grouped else 1,
        in_float=True,
    )


def _deepseek_v3(config: Hyperparameters) -> Routing:
    method, scoring = config.text_or("topk_method", "noaux_tc"), config.text_or("scoring_func", "sigmoid")
    if method != "noaux_tc" or scoring != "sigmoid":
        raise UnsupportedModelError(f"topk_method is {method[:40]!r} and scoring_func {scoring[:40]!r}; noaux_tc and sigmoid are run")
    return Routing(
        scoring=Scoring.SIGMOID,
        normalised=config.flag("norm_topk_prob", default=True),
        factor=config.number_or("routed_scaling_factor", 2.5),
        groups=config.integer_or("n_group", 8, low=1),
        picked_groups=config.integer_or("topk_group", 4, low=1),
        group_score=2,
        in_float=True,
    )


_ROUTINGS: Final[dict[str, Callable[[Hyperparameters], Routing]]] = {
    "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek_v3,
    "gpt_oss": _gpt_oss,
    "mixtral": _mixtral,
    "qwen2_moe": _qwen,
    "qwen3_moe": _qwen,
}
