"""A mixture of experts from a layer's tensors."""

import torch
from torch import Tensor

from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import Part, Role
from ullage.engines.runtime.transient import ROWS, mixture_rows
from ullage.errors import UnsupportedModelError
from ullage.frozen import dataclass
from ullage.runtime.linear.plain import Plain
from ullage.runtime.model.experts import Experts, Mixture, Resident, Router
from ullage.runtime.model.feed_forward import DenseMlp
from ullage.runtime.model.parts import MakeLinear, Parts
from ullage.runtime.model.staging import OnHost, Staging
from ullage.runtime.model.traits import Traits

_EXPERT = "{expert}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """One expert's matrices, ``{expert}`` standing for its number; biases where there are some."""

    gate: str
    up: str
    down: str
    biased: bool

    def of(self, expert: int) -> tuple[str, str, str]:
        """Gate, up and down of one expert."""
        gate, up, down = (name.replace(_EXPERT, str(expert)) for name in (self.gate, self.up, self.down))
        return gate, up, down


def mixture(parts: Parts, outline: ExpertFeedForward, traits: Traits, make: MakeLinear, *, layer: int, staging: Staging | None) -> Mixture:
    """With ``staging`` the experts lie on the host. Raises UnsupportedModelError for a family whose routing is not known."""
    routing = traits.routing
    if routing is None or not outline.gated:
        raise UnsupportedModelError("experts without gates, or of a family whose routing is not known, are not run")
    name = parts.name(Role.ROUTER)
    correction = name.removesuffix("weight") + "e_score_correction_bias"
    router = Router(
        parts.named(name),
        parts.rows(Role.ROUTER, part=Part.BIAS),
        parts.named(correction, torch.float32) if parts.exists(correction) else None,
        routing,
        outline.experts_per_token,
    )
    return Mixture(
        router,
        _experts(parts, outline.experts, traits, make, layer=layer, staging=staging),
        shared=_shared(parts, traits, make),
        shared_gate=Plain(parts.one(Role.SHARED_ROUTER)) if parts.has(Role.SHARED_ROUTER) else None,
        rows=mixture_rows(outline.experts, outline.experts_per_token),
    )


def _experts(parts: Parts, count: int, traits: Traits, make: MakeLinear, *, layer: int, staging: Staging | None) -> Experts:
    names = _names(parts)
    made = (_expert(parts, names.of(index), traits, make, biased=names.biased) for index in range(count))
    if staging is None:
        return Resident(tuple(made))
    on_host = OnHost(layer, staging)
    for expert in made:
        on_host.add(expert)
    return on_host


def _names(parts: Parts) -> _Names:
    """As the blueprint has them, or, where it has all experts in one tensor, as that tensor is taken apart."""
    biased = parts.has(Role.EXPERT_DOWN, Part.BIAS)
    if parts.has(Role.EXPERT_GATE):
        gate, up, down = (parts.name(role) for role in (Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_DOWN))
        return _Names(gate=gate, up=up, down=down, biased=biased)
    at = parts.name(Role.EXPERT_GATE_UP).rpartition(".")[0]
    gate, up, down = (f"{at}.{_EXPERT}.{word}_proj.weight" for word in ("gate", "up", "down"))
    return _Names(gate=gate, up=up, down=down, biased=biased)


def _expert(parts: Parts, names: tuple[str, str, str], traits: Traits, make: MakeLinear, *, biased: bool) -> DenseMlp:
    gate, up, down = names

    def biases(*of: str) -> Tensor | None:
        return torch.cat([parts.named(name.removesuffix("weight") + "bias") for name in of]) if biased else None

    return DenseMlp(
        up=make(parts.matrices(gate, up), biases(gate, up)),
        down=make(parts.matrices(down), biases(down)),
        activation=traits.activation,
        gated=True,
        rows=ROWS,
    )


def _shared(parts: Parts, traits: Traits, make: MakeLinear) -> DenseMlp | None:
    if not parts.has(Role.SHARED_UP):
        return None
    up = parts.matrices(parts.name(Role.SHARED_GATE), parts.name(Role.SHARED_UP))
    return DenseMlp(up=make(up, None), down=make(parts.matrix(Role.SHARED_DOWN), None), activation=traits.activation, gated=True, rows=ROWS)
