"""What ends a start and is no want of memory: the words of it, what it means, and the one thing that helps."""

from typing import Final, NamedTuple

from ullage.domain.case import Value
from ullage.domain.cause import Family, Hint, Kind


class Refusal(NamedTuple):
    """One reason why nothing is served. ``helps`` is a setting with its value and what that costs."""

    name: str
    patterns: tuple[str, ...]
    summary: str
    helps: tuple[str, Value, str]
    family: Family = Family.NOT_MEMORY

    @property
    def fact(self) -> str:
        """How a log's fact of it is called."""
        return f"error.{self.name}"

    @property
    def hint(self) -> Hint:
        """What helps, where a log states this."""
        setting, value, cost = self.helps
        return Hint(kinds=frozenset({Kind.COMMAND}), setting=setting, value=value, cost=cost, stated=self.name)


REFUSALS: Final = (
    Refusal(
        "trust_code",
        (
            r"contains custom code which must be executed",
            r"(?:[Pp]lease (?:pass|set|add|use)|consider setting) .{0,30}trust[_-]remote[_-]code",
        ),
        "the model brings code of its own, and nobody has said that it may be run: a decision, no fault and no want of memory",
        ("trust_remote_code", True, "the model's own code is run: read it first"),
        Family.COMMAND,
    ),
    Refusal(
        "no_bfloat16",
        (r"(?i:bfloat16|bf16) is (?:only|not) supported (?:on|by|for) .{0,60}(?i:GPU|device|capability|hardware)",),
        "the card does not compute in bfloat16; memory has no part in it",
        ("dtype", "float16", "a narrower range of values"),
        Family.COMMAND,
    ),
    Refusal(
        "unknown_model",
        (
            r"unknown (?:model|pre-tokenizer) (?:architecture|type)",
            r"architectures? .{0,80} (?:is|are) not supported|Unsupported architecture|does not recognize this architecture",
        ),
        "this release of the engine does not know the model; memory has no part in it",
        ("the engine's release", "a newer one that knows the model", "an upgrade"),
        Family.COMMAND,
    ),
    Refusal(
        "gated",
        (
            r"GatedRepo(?:Error)?|\bgated repo\b|\b(?:401|403) Client Error|Access to model \S{1,120} is restricted",
            r"Invalid (?:user ?name or password|credentials in Authorization)|Invalid (?:HF|user) token",
        ),
        "the Hub does not give out this model without a login that may have it; memory has no part in it",
        ("HF_TOKEN", "a token of an account that was granted access", "none"),
    ),
    Refusal(
        "disk_full",
        (r"No space left on device|[Dd]isk quota exceeded|low on resource: ephemeral-storage|[Nn]ot enough free disk space",),
        "the disk is full, where the model is stored; memory has no part in it",
        ("HF_HOME", "a disk with room for the weights", "none"),
    ),
    Refusal(
        "broken_file",
        (
            r"not within (?:the )?file bounds|corrupted or incomplete|invalid magic|bad magic|not a valid (?:GGUF|safetensors)",
            r"HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader|wrong number of tensors|missing tensor '",
        ),
        "the model's file is broken, cut off or no model at all; memory has no part in it",
        ("the model's file", "download it again and compare its size", "the download"),
    ),
    Refusal(
        "graph_pool",
        (r"not enough space in the context's memory pool",),
        "ggml's list of a step's tensors is too short for so many tokens at once: a fixed size of the program, and no want of memory",
        ("ubatch_size", 512, "slower prompts; `n_batch` where there is no ubatch"),
    ),
    Refusal(
        "no_node",
        (
            r"\bnodes? (?:is|are) available: .{0,200}\bInsufficient [\w./-]{2,60}",
            r"\bInsufficient (?:nvidia|amd|gpu\.intel|habana)[\w./-]{0,40}",
        ),
        "no node of the cluster has what is requested free, so nothing was started",
        ("resources.requests", "what a node has free", "fewer devices or less memory"),
    ),
    Refusal(
        "probe",
        (r"(?:[Ll]iveness|[Ss]tartup) probe failed|failed (?:liveness|startup) probe",),
        "the server did not answer its probe and was ended for it; that is no want of memory where nothing else says so",
        ("startupProbe", "failureThreshold x periodSeconds longer than a start takes", "a hung server is noticed later"),
    ),
)
