"""A decoder from a blueprint's tensors: which of them belong together, and the form each is kept in."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt

import torch

from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, FullAttention, Layer, SlidingAttention
from ullage.domain.architecture import LatentAttention as Latent
from ullage.domain.checkpoint import Part, Role
from ullage.domain.checkpoint import Tensor as Described
from ullage.domain.family import Blueprint
from ullage.engines.runtime.pages import Group
from ullage.engines.runtime.transient import ROWS
from ullage.errors import UnsupportedModelError
from ullage.runtime.attend.walk import Scales
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.plain import Plain
from ullage.runtime.loading.source import Source
from ullage.runtime.model.attention import Attention, HeadNorm
from ullage.runtime.model.decoder import Block, Decoder, FeedForward, Stage
from ullage.runtime.model.embedding import Embedding, MappedTable, Table
from ullage.runtime.model.feed_forward import DenseMlp
from ullage.runtime.model.latent import LatentAttention
from ullage.runtime.model.latent_parts import latent_attention
from ullage.runtime.model.mixture_parts import mixture
from ullage.runtime.model.norms import LayerNorm, NormLayer, RmsNorm
from ullage.runtime.model.parts import MakeLinear, Parts
from ullage.runtime.model.staging import Staging
from ullage.runtime.model.traits import Norm, Traits


class Assembly:
    """Builds the parts of one model that lie on one device."""

    def __init__(  # noqa: PLR0913 - what a model is made from and how it is kept
        self,
        blueprint: Blueprint,
        traits: Traits,
        groups: tuple[Group, ...],
        source: Source,
        *,
        dtype: torch.dtype,
        device: torch.device,
        make_linear: MakeLinear,
        make_head: MakeLinear | None = None,
        staging: Staging | None = None,
    ) -> None:
        self._blueprint, self._traits, self._groups, self._source = blueprint, traits, groups, source
        self._dtype, self._device, self._make = dtype, device, make_linear
        self._make_head = make_head or make_linear
        self._staging = staging

    def decoder(self) -> Decoder:
        """The whole model on this device, layer after layer."""
        return decoder([self], [(0, len(self._blueprint.architecture.layers))])

    def blocks(self, first: int, end: int) -> tuple[tuple[Block, ...], int]:
        """Some of the layers, and their bytes."""
        by_layer: dict[int | None, list[Described]] = defaultdict(list)
        for tensor in self._blueprint.tensors:
            by_layer[tensor.layer].append(tensor)
        layers = self._blueprint.architecture.layers
        made = [self._block(index, layers[index], self._parts(by_layer[index])) for index in range(first, end)]
        return tuple(block for block, _ in made), sum(nbytes for _, nbytes in made)

    def end(self) -> tuple[NormLayer, Linear]:
        """The last norm and the head."""
        outside = self._outside()
        norm = self._norm(outside, "norm")
        if norm is None:
            raise UnsupportedModelError("the model has no norm before its head")
        tied = not outside.has(Role.HEAD)
        bias = outside.rows(Role.HEAD, part=Part.BIAS)
        return norm, self._make_head(outside.matrix(Role.EMBEDDING if tied else Role.HEAD), bias)

    def embedding(self, head: Linear | None) -> Embedding:
        """The table. One that the ``head`` of this device multiplies by is the same tensor, except where that has a form of its own."""
        outside = self._outside()
        if not outside.has(Role.HEAD) and self._device.type != "cpu" and isinstance(head, Plain):
            return Table(head.weight, nbytes=0)
        name = outside.name(Role.EMBEDDING)
        stored = self._source.stored(name)
        mapped = self._device.type == "cpu" and stored.is_view
        return MappedTable(stored, self._dtype) if mapped else Table(outside.named(name).to(self._device))

    @property
    def traits(self) -> Traits:
        """What the family computes."""
        return self._traits

    @property
    def device(self) -> torch.device:
        """Where what is built lies."""
        return self._device

    def _outside(self) -> Parts:
        return self._parts(tensor for tensor in self._blueprint.tensors if tensor.layer is None)

    def _parts(self, described: Iterable[Described]) -> Parts:
        return Parts(described, self._source, self._dtype, self._device)

    def _norm(self, parts: Parts, word: str) -> NormLayer | None:
        found = parts.norm(word)
        if Part.WEIGHT not in found:
            return None
        if self._traits.norm is Norm.LAYER:
            return LayerNorm(found[Part.WEIGHT], found.get(Part.BIAS), self._traits.epsilon)
        return RmsNorm(found[Part.WEIGHT], self._traits.epsilon, plus_one=self._traits.norm is Norm.RMS_PLUS_ONE)

    def _block(self, index: int, layer: Layer, parts: Parts) -> tuple[Block, int]:
        attention = self._attention(index, layer, parts)
        feed_forward, nbytes = self._feed_forward(index, layer, parts)
        first, second = self._norm(parts, "input_layernorm"), self._norm(parts, "post_attention_layernorm")
        third, fourth = self._norm(parts, "pre_feedforward_layernorm"), self._norm(parts, "post_feedforward_layernorm")
        if first is None:
            raise UnsupportedModelError(f"layer {index} has no norm before its attention")
        norms = [norm.nbytes for norm in (first, second, third, fourth) if norm is not None]
        block = Block(
            before_attention=first,
            attention=attention,
            after_attention=second if third is not None else None,
            before_feed_forward=second if third is None else third,
            feed_forward=feed_forward,
            after_feed_forward=fourth,
            residual_scale=self._traits.residual_scale,
        )
        return block, attention.nbytes + nbytes + sum(norms)

    def _attention(self, index: int, layer: Layer, parts: Parts) -> Attention | LatentAttention:
        (mixer,) = layer.mixers
        if isinstance(mixer, Latent):
            return latent_attention(parts, mixer, self._traits, self._make, self._place(index))
        if not isinstance(mixer, FullAttention | SlidingAttention):
            raise UnsupportedModelError(f"layer {index} is {type(mixer).__name__}")
        roles = (Role.QKV,) if parts.has(Role.QKV) else (Role.Q, Role.K, Role.V)
        weight = parts.weights(*roles)
        if weight is None:
            raise UnsupportedModelError(f"layer {index} has no projection of queries, keys and values")
        group, place = self._place(index)
        traits = self._traits
        rotary = traits.local_rotary if traits.local_rotary and isinstance(mixer, SlidingAttention) else traits.rotary
        return Attention(
            qkv=self._make(weight, parts.rows(*roles, part=Part.BIAS)),
            out=self._make(parts.matrix(Role.O), parts.rows(Role.O, part=Part.BIAS)),
            heads=mixer.query_heads,
            kv_heads=mixer.kv_heads,
            key_dim=mixer.key_dim,
            value_dim=mixer.value_dim,
            scales=Scales(
                scale=traits.attention_scale or 1 / sqrt(mixer.key_dim),
                softcap=traits.attention_softcap,
                sinks=parts.one(Role.ATTENTION_OTHER) if parts.has(Role.ATTENTION_OTHER) else None,
            ),
            rotary=None if index in traits.unrotated_layers else rotary,
            head_norm=self._head_norm(parts, mixer.query_heads, mixer.kv_heads),
            group=group,
            place=place,
        )

    def _head_norm(self, parts: Parts, heads: int, kv_heads: int) -> HeadNorm | None:
        query, key = parts.norm("q_norm"), parts.norm("k_norm")
        if not query:
            return None
        stacked = torch.cat((query[Part.WEIGHT].expand(heads, -1), key[Part.WEIGHT].expand(kv_heads, -1)))
        return HeadNorm(stacked + 1 if self._traits.norm is Norm.RMS_PLUS_ONE else stacked, self._traits.epsilon)

    def _place(self, index: int) -> tuple[int, int]:
        for group, kept in enumerate(self._groups):
            if index in kept.layers:
                return group, kept.layers.index(index)
        raise UnsupportedModelError(f"layer {index} keeps nothing")

    def _feed_forward(self, index: int, layer: Layer, parts: Parts) -> tuple[FeedForward, int]:
        outline = layer.feed_forward
        if isinstance(outline, ExpertFeedForward):
            mixed = mixture(parts, outline, self._traits, self._make, layer=index, staging=self._staging)
            return mixed, mixed.nbytes
        if not isinstance(outline, DenseFeedForward):
            raise UnsupportedModelError(f"the feed-forward {type(outline).__name__} is not run")
        roles = (Role.GATE_UP,) if parts.has(Role.GATE_UP) else (Role.GATE, Role.UP) if outline.gated else (Role.UP,)
        up = parts.weights(*roles)
        if up is None:
            raise UnsupportedModelError("a layer has no feed-forward weights")
        made = DenseMlp(
            up=self._make(up, parts.rows(*roles, part=Part.BIAS)),
            down=self._make(parts.matrix(Role.DOWN), parts.rows(Role.DOWN, part=Part.BIAS)),
            activation=self._traits.activation,
            gated=outline.gated,
            rows=ROWS,
        )
        return made, made.nbytes


def decoder(assemblies: Sequence[Assembly], spans: Sequence[tuple[int, int]]) -> Decoder:
    """A model over several devices: the table lies on the first, the norm and the head on the last, of the layers a run on each."""
    norm, head = assemblies[-1].end()
    embedding = assemblies[0].embedding(head if len(assemblies) == 1 else None)
    stages = []
    for index, (assembly, span) in enumerate(zip(assemblies, spans, strict=True)):
        blocks, nbytes = assembly.blocks(*span)
        nbytes += embedding.nbytes if index == 0 else 0
        nbytes += norm.nbytes + head.nbytes if index == len(assemblies) - 1 else 0
        stages.append(Stage(device=assembly.device, blocks=blocks, weight_bytes=nbytes))
    traits = assemblies[0].traits
    return Decoder(
        embedding=embedding,
        stages=stages,
        norm=norm,
        head=head,
        embedding_scale=traits.embedding_scale,
        logit_scale=traits.logit_scale,
        softcap=traits.final_softcap,
    )
