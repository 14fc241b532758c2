"""A model's configuration, read strictly: every key that is asked for is noted, and what nobody read is reported."""

import re
from collections.abc import Mapping

from ullage.errors import MalformedFileError, UnsupportedModelError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

# Keys that cannot change how much memory a model takes. Anything else that no family reads is reported.
IRRELEVANT_KEYS = frozenset(
    """
    _attn_implementation _attn_implementation_internal _from_model_config _name_or_path activation_function add_bos_token add_prefix_space
    ai2_license architectures attention_dropout attention_dropout_prob attention_multiplier attention_probs_dropout_prob attention_sink_size
    attention_softmax_in_fp32 attn_dropout_prob attn_logit_softcapping attn_pdrop audio_token_id auto_map aux_loss_alpha
    begin_suppress_tokens boa_token_id boi_token_id boi_token_index bos_token_id cache_implementation chunk_size_feed_forward
    classifier_dropout clip_qkv context_window_size decoder_start_token_id dropout dropout_rate emb_dropout_prob emb_pdrop embd_pdrop
    embed_dropout embedding_dropout embedding_dropout_prob embedding_multiplier eoa_token_id eoa_token_index eoi_token_id eoi_token_index
    eos_token_id epsilon ffn_dropout_prob final_logit_softcapping finetuning_task flash_attn flash_rotary forced_bos_token_id
    forced_eos_token_id fused_dense gradient_checkpointing hidden_act hidden_activation hidden_dropout hidden_dropout_prob id2label
    ignore_index image_token_id image_token_index init_config init_device initializer_factor initializer_range is_decoder is_encoder_decoder
    is_llama_config keys_to_ignore_at_inference label2id layer_norm_eps layer_norm_epsilon layernorm_epsilon logit_scale logits_scaling
    mask_token_id media_placeholder_token_id mlp_dropout n_special norm_eps norm_epsilon norm_topk_prob output_attentions
    output_hidden_states output_past output_router_logits pad_token_id position_embedding_type predict_special_tokens prefill_chunk_size
    prefix pretraining_tp problem_type projector_hidden_act query_pre_attn_scalar reorder_and_upcast_attn rescale_every resid_pdrop
    residual_dropout residual_multiplier return_dict rms_norm_eps rms_norm_epsilon rope_embedding_base rope_interleave rope_interleaved
    rope_parameters rope_ratio rope_scaling rope_theta rotary_base rotary_emb_base routed_scaling_factor router_aux_loss_coef
    router_bias_update_speed router_jitter_noise scale_attention_softmax_in_fp32 scale_attn_by_inverse_layer_idx scale_attn_weights
    scoring_func sep_token_id seq_aux summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    task_specific_params tokenizer_class topk_group topk_method torchscript transformers.js_config transformers_version typical_p
    unsloth_fixed unsloth_version use_bfloat16 use_cache use_flash_attn use_logn_attn verbose video_token_id video_token_index
    vision_end_token_id vision_start_token_id vision_token_id z_loss_weight
    """.split()
)

# Read where checkpoints are quantised, not by the families.
READ_ELSEWHERE = frozenset({"quantization_config", "hf_quant_config", "compression_config"})


# What is built one by one, by the last word of its key, and the most of it that is read: ten times and more what was ever published.
_MOST = {"layer": 10_000, "head": 10_000, "expert": 100_000}
_COUNT_OF = re.compile(r"(?:\w+_)?(?:(layer|expert|(?<!d_)head)s?|num_(?:\w+_)?(?:block|module)s|depth)")
_MOST_HEADS_OF_ALL_LAYERS = 1_000_000
_LONGEST_LIST = 10_000  # entries, or letters of a pattern: one for each layer


class Hyperparameters:
    """A JSON object that remembers which keys were asked for. ``path`` names it in messages.

    Every reader raises UnsupportedModelError when a needed key is missing and MalformedFileError when a value has the wrong type
    or is out of all bounds.
    """

    LARGEST = 1 << 40

    def __init__(self, raw: Mapping[str, Json], path: str = "") -> None:
        self._raw = raw
        self._path = path
        self._read: set[str] = set()
        self._children: dict[str, Hyperparameters] = {}
        self._counts: dict[str, int] = {}

    def _named(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        """Whether the key is there and not null. Counts as reading it."""
        self._read.add(key)
        return self._raw.get(key) is not None

    def states(self, key: str) -> bool:
        """Whether the key is there, even as null, which is another thing than its absence where the default is not null."""
        self._read.add(key)
        return key in self._raw

    def raw(self, key: str) -> Json:
        """The value as it stands, or None."""
        self._read.add(key)
        return self._raw.get(key)

    def _needed(self, key: str) -> Json:
        value = self.raw(key)
        if value is None:
            fault = (
                f"states no number or value for {self._named(key)!r} (null or NaN)" if key in self._raw else f"lacks {self._named(key)!r}"
            )
            raise UnsupportedModelError(
                f"the configuration {fault}, which this family needs to be sized. Give the complete config.json of the model"
            )
        return value

    def _integer(self, key: str, value: Json, low: int) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedFileError(f"{self._named(key)} should be a whole number, but is {_shown(value)}")
        if not low <= value <= self.LARGEST:
            raise MalformedFileError(f"{self._named(key)} is {_shown(value)}, outside {low} to {self.LARGEST}")
        self._check_count(key, value)
        return value

    def _check_count(self, key: str, value: int) -> None:
        """Refuse more layers, heads or experts than any model has, before anything is built for each of them."""
        match = _COUNT_OF.fullmatch(key)
        if match is None:
            return
        kind = match[1] or "layer"
        if value > _MOST[kind]:
            raise MalformedFileError(
                f"{self._named(key)} is {value}; at most {_MOST[kind]} are read, and no published model has a tenth of it"
            )
        self._counts[kind] = max(value, self._counts.get(kind, 0))
        together = self._counts.get("layer", 1) * self._counts.get("head", 1)
        if together > _MOST_HEADS_OF_ALL_LAYERS:
            raise MalformedFileError(
                f"{self._named(key)} is {value}, which makes {together} heads in all layers; {_MOST_HEADS_OF_ALL_LAYERS} are read at most"
            )

    def integer(self, key: str, *, low: int = 1) -> int:
        """A whole number that must be there."""
        return self._integer(key, self._needed(key), low)

    def integer_or(self, key: str, default: int, *, low: int = 0) -> int:
        """A whole number, or the family's own rule where the key is missing or null."""
        value = self.raw(key)
        return default if value is None else self._integer(key, value, low)

    def first_integer(self, *keys: str, low: int = 1) -> int:
        """The first of several spellings of one key."""
        for key in keys:
            if self.has(key):
                return self.integer(key, low=low)
        return self.integer(keys[0], low=low)

    def number_or(self, key: str, default: float) -> float:
        """A number, or the default."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MalformedFileError(f"{self._named(key)} should be a number, but is {_shown(value)}")
        return float(value)

    def number(self, key: str) -> float:
        """A number that must be there."""
        self._needed(key)
        return self.number_or(key, 0.0)

    def flag(self, key: str, *, default: bool) -> bool:
        """A true/false value, or the default."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        if value in (0, 1):
            return bool(value)
        raise MalformedFileError(f"{self._named(key)} should be true or false, but is {_shown(value)}")

    def text(self, key: str) -> str:
        """A string that must be there."""
        return self._text(key, self._needed(key))

    def text_or(self, key: str, default: str) -> str:
        """A string, or the default."""
        value = self.raw(key)
        return default if value is None else self._text(key, value)

    def _text(self, key: str, value: Json) -> str:
        if not isinstance(value, str):
            raise MalformedFileError(f"{self._named(key)} should be a string, but is {_shown(value)}")
        self._check_length(key, len(value))
        return value

    def _check_length(self, key: str, length: int) -> None:
        if length > _LONGEST_LIST:
            raise MalformedFileError(f"{self._named(key)} has {length} entries; at most {_LONGEST_LIST} are read, one for each layer")

    def _list(self, key: str, length: int | None) -> list[Json]:
        value = self._needed(key)
        if not isinstance(value, list):
            raise MalformedFileError(f"{self._named(key)} should be a list, but is {_shown(value)}")
        if length is not None and len(value) < length:
            raise MalformedFileError(f"{self._named(key)} has {len(value)} entries, but {length} are needed")
        self._check_length(key, len(value))
        return value if length is None else value[:length]

    def words(self, key: str, *, length: int | None = None) -> tuple[str, ...]:
        """A list of strings; ``length`` is how many are needed."""
        return tuple(self._text(key, item) for item in self._list(key, length))

    def integers(self, key: str, *, length: int | None = None, low: int = 0) -> tuple[int, ...]:
        """A list of whole numbers; ``length`` is how many are needed."""
        return tuple(self._integer(key, item, low) for item in self._list(key, length))

    def child(
        self, key: str, *, defaults: Mapping[str, Json] | None = None, overrides: Mapping[str, Json] | None = None
    ) -> "Hyperparameters":
        """A nested object that must be there.

        ``defaults`` stand for keys it lacks or has as null, ``overrides`` for whatever it says; neither is reported as unread.
        """
        if key not in self._children:
            value = self._needed(key)
            if not isinstance(value, dict):
                raise MalformedFileError(f"{self._named(key)} should be an object, but is {_shown(value)}")
            missing = {name: item for name, item in (defaults or {}).items() if value.get(name) is None}
            given = {**missing, **(overrides or {})}
            self._children[key] = Hyperparameters({**value, **given}, self._named(key))
            self._children[key].ignore(*given)
        return self._children[key]

    def child_or_none(self, key: str) -> "Hyperparameters | None":
        """A nested object, or None."""
        return self.child(key) if self.has(key) else None

    def children(self, key: str, *, length: int | None = None) -> "tuple[Hyperparameters, ...]":
        """A list of nested objects that must be there; ``length`` is how many are needed."""
        found = []
        for index, item in enumerate(self._list(key, length)):
            name = f"{key}[{index}]"
            if not isinstance(item, dict):
                raise MalformedFileError(f"{self._named(name)} should be an object, but is {_shown(item)}")
            if name not in self._children:
                self._children[name] = Hyperparameters(item, self._named(name))
            found.append(self._children[name])
        return tuple(found)

    def must_be(self, key: str, *allowed: Json) -> None:
        """Refuse a configuration in which a key has a value this family has no rule for. A missing key is allowed."""
        value = self.raw(key)
        if value is not None and value not in allowed:
            words = " or ".join(_shown(item) for item in allowed)
            raise UnsupportedModelError(f"{self._named(key)} is {_shown(value)}; only {words} is known for this family")

    def ignore(self, *keys: str) -> None:
        """Say that these keys were considered and do not matter to memory."""
        self._read.update(keys)

    def unread(self) -> tuple[str, ...]:
        """Keys that nobody read and that may matter to memory, nested ones with their path, sorted."""
        own = {
            self._named(key)
            for key, value in self._raw.items()
            if key not in self._read and key not in IRRELEVANT_KEYS | READ_ELSEWHERE and value is not None
        }
        for child in self._children.values():
            own.update(child.unread())
        return tuple(sorted(own))


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - one line of a message
