"""What the functions of a traceback say about how far a run came. Engines, their forks and the libraries below them share these names."""

import re
from typing import Final

from ullage.domain.cause import Stage
from ullage.domain.ledger import Purpose

# A function of a traceback as Python, a logger before it, rich's boxes, and notebooks of two ages show it.
_FRAMES: Final = tuple(
    re.compile(text)
    for text in (
        r'(?:[A-Z]{4,8}:?\s{1,40})?File ["“](?P<file>[^"”]{1,300})["”], line \d{1,7}, in (?P<name>[\w<>]{1,80})',
        r"(?P<file>[^\s\"]{1,300}\.py):\d{1,7} in\s{1,40}(?P<name>[\w<>]{1,80})$",
        r"File \[?(?P<file>[^\s\]\"]{1,300}\.py):\d{1,7}\]?(?:\([^)\s]{1,400}\))?, in (?P<name>[\w.<>]{1,160})",
        r"\[?(?P<file>[/~][^\s\]\"]{1,300}\.py)\]?(?:\([^)\s]{1,400}\))? in (?P<name>[\w<>]{1,80})\(",
    )
)
# One that a box or a terminal's width broke.
_CUT: Final = re.compile(
    r'(?:[A-Z]{4,8}:?\s{1,40})?(?:File(?: "[^"]{0,300}"?,?(?: line(?: \d{1,7},?(?: in)?)?)?)?|\S{1,300}\.py:\d{1,7} in)$'
)
SIDES: Final = " \t│|"  # of a box
_SIGNS: Final = (".py", "File")


def frame_of(text: str) -> tuple[str, str] | None:
    """The file and the function that a line of a traceback names, or None."""
    if not any(mark in text for mark in _SIGNS):
        return None
    plain = text.strip(SIDES)
    match = next((found for pattern in _FRAMES if (found := pattern.match(plain)) is not None), None)
    return (match["file"], match["name"].rpartition(".")[2]) if match is not None else None


def is_cut(text: str) -> bool:
    """Whether a line that names a function ends before it does."""
    return any(mark in text for mark in _SIGNS) and _CUT.match(text.strip(SIDES)) is not None


# In order of precedence: a profile run executes the model, and a capture warms it up; the outer word tells.
_STAGES: Final[tuple[tuple[Stage, tuple[str, ...]], ...]] = (
    (Stage.SAMPLER, (r"_dummy_sampler_run|_dummy_pooler_run|warm_?up_sampler",)),
    (
        Stage.CAPTURE,
        (
            r"capture_?(?:model|one_batch_size|graphs?|cuda_?graph\w*)?|_capture_\w+|init_(?:cuda|device)_graphs?|init_device_graphs",
            r"_init_cuda_graph\w*",
            r"compile_or_warm_up_model|_warmup_and_capture|warm_?up_and_capture|capture_decode_cuda_graph|warmup_decode",
        ),
    ),
    (
        Stage.PROFILE,
        (
            r"profile_run|determine_(?:num_)?available_(?:memory|blocks)|profile_num_available_blocks|profile_max_num_tokens|_profile_\w+",
            r"profile_cudagraph_memory|get_available_memory|[Ww]arm_?up|_run_encoder_profile\w*|_dummy_run",
        ),
    ),
    (
        Stage.CACHE,
        (
            r"initialize_kv_cache(?:s|_tensors)?|_initialize_kv_caches|initialize_cache|initialize_from_config|_allocate_kv_cache\w*",
            r"allocate_gpu_cache|_?init_cache_engine|init_memory_pool|alloc_memory_pool|_create_buffers|create_kv_cache\w*|create_caches",
            r"create_state_tensors|alloc_cache|allocate_(?:kv_)?cache\w*|_?init_(?:kv_)?caches?(?:_\w+)?|_init_pools?|init_memory_pools?",
        ),
    ),
    (
        Stage.LOAD,
        (
            r"load_model|load_weights|_load_model|initialize_model|_initialize_model|get_model|from_pretrained|load_low_bit|load_split",
            r"load_autosplit\w*|load_gen|set_device_map|process_weights_after_loading|create_weights|weight_loader|_load_state_dict\w*",
            r"set_module_tensor_to_device|dispatch_model|load_checkpoint_\w+|caching_allocator_warmup|_load_pretrained_model|convert_model",
            r"optimize_and_load_gguf|ggml_convert\w*|_apply|load_quantized|convert|BackendInterface|\w*_loader|make_layers|_init_model",
            r"_?load(?:_(?!lora|adapter|image|audio|video|dataset|chat)\w+)?|get_(?:multi_)?weights?_\w+|get_(?:partial_)?sharded",
            r"set_module_\w*tensor_to_device|process_weights\w*",
        ),
    ),
    (
        Stage.FIRST_PROMPT,
        (
            r"execute_model(?:_async)?|forward_batch_generation|forward_extend|forward_prefill|prefill|generate|model_forward",
            r"_sample|(?:greedy|beam|contrastive|assisted|group_beam)_(?:search|sample|decoding)|_beam_search",
            r"_?process_engine_step|engine_step|run_engine_loop|step_async|_process_request|run_busy_loop|event_loop_\w+|iterate|prefill_and_generate|forward_chunck?|forward|\w*_prefill|\w+_fwd|handle_request|generate_text",
            r"Prefill|generate_token|generate_gen|stream_generate\w*|compute_attention|run_batch|generate_reply\w*|generate_with_callback|gentask",
            r"stream_chat|replay\w*|forward_thread_func\w*|process_batch_result\w*|create_(?:chat_)?completion\w*|new_forward",
        ),
    ),
    (Stage.UNDER_LOAD, (r"forward_decode|decode_one_tokens|_decode|decode_batch|Decode",)),
)
_STAGE_PATTERNS: Final = tuple((stage, re.compile(rf"(?:{'|'.join(texts)})$")) for stage, texts in _STAGES)
# What the innermost functions were making.
_TERMS: Final[tuple[tuple[Purpose, str], ...]] = (
    (
        Purpose.LOGITS,
        r"compute_logits|_get_logits|lm_head|logits_processor|sample(?:r|_tokens)?|apply_top_k_top_p|log_softmax|cross_entropy",
    ),
    (Purpose.WORKSPACE, r"dual_chunk\w*|_dual_chunk\w*|_bruteforce_dynamic_chunk\w*|flashmla\w*|flash_mla\w*|vertical_slash\w*"),
)
_TERM_PATTERNS: Final = tuple((purpose, re.compile(rf"(?:{text})$")) for purpose, text in _TERMS)
_INNERMOST = 6
# What a line of source makes, behind its file: the tensors, and the files of caches, are called alike by all engines.
_SOURCE: Final = tuple(
    (purpose, re.compile(text))
    for purpose, text in (
        (
            Purpose.KV_CACHE,
            (
                r"(?:^|[\s(.])\w*(?:(?<!sin_)cache|kv_buffer|k_buffer|v_buffer|past_key\w*|past_value\w*|layer_past)\w*(?:\[[^\]]*\])?"
                r"(?:\.append\(|\s*(?:,\s*[\w.]+\s*)?(?::[^=]{1,40})?=\s*)(?:\[|torch\.(?:zeros|empty|cat|full)\b|\w*Cache\w*\(|"
                r"self\.cache_mode\(|self\._allocate\w*\(|cache_type\()"
                r"|torch\.(?:zeros|empty|full)\(\s*\w*(?:kv|cache)_\w*shape"
                r"|^\S*(?:cache|memory_pool)\S*\.py: .*torch\.(?:zeros|empty|full)\("
            ),
        ),
        (
            Purpose.LOGITS,
            (
                r"(?<![a-z]_)logits\s*=\s*(?:torch\.|F\.|logits\b|self\.(?:\w*logits\w*|output\w*|head|embed_out)\()|\blm_head\(|log_?softmax\(|\blogprobs?\w*\s*=|softmax\(\s*(?:next_token_)?(?:logits|scores)"
                r"|logits\.(?:float|to|sort|clone)\(|multinomial\("
            ),
        ),
        (Purpose.WORKSPACE, r"(?:scratch|workspace)\w*\s*="),
    )
)
_CALLED = re.compile(r"(\w{3,80})\(")
# What takes places in a pool; it answers None where there is none left.
_TAKES_SLOTS = re.compile(r"(?:prepare_for_(?:extend|decode)|alloc(?:_\w+)?|allocate_slots|append_slots?)$")
_LAST_SOURCE = 4  # between a layer's own line and the product that torch makes of it stand up to three of torch's


def stage_of(frames: tuple[str, ...]) -> Stage | None:
    """How far the run was when it died inside these functions, or None when none of them tells."""
    return next((stage for stage, pattern in _STAGE_PATTERNS if any(pattern.match(name) for name in frames)), None)


def term_of(frames: tuple[str, ...], source: tuple[str, ...] = ()) -> Purpose | None:
    """What the innermost functions, or the lines of source shown with them, were making, or None."""
    last = frames[-_INNERMOST:]
    named = next((purpose for purpose, pattern in _TERM_PATTERNS if any(pattern.match(name) for name in last)), None)
    return named or made_in(source)


def called(source: tuple[str, ...]) -> tuple[str, ...]:
    """The functions that these lines of source call: a traceback can be cut there, and lack some of its middle."""
    return tuple(name for line in source for name in _CALLED.findall(line))


def made_in(source: tuple[str, ...]) -> Purpose | None:
    """What the innermost lines of source make, or None when none of them tells."""
    return next((purpose for line in reversed(source[-_LAST_SOURCE:]) for purpose, pattern in _SOURCE if pattern.search(line)), None)


def takes_slots(frames: tuple[str, ...]) -> bool:
    """Whether the innermost functions take places in a pool that was made before."""
    return any(_TAKES_SLOTS.match(name) for name in frames[-_INNERMOST:])


def allocates_cache(source: tuple[str, ...]) -> bool:
    """Whether the innermost lines of source make a cache anew, not longer."""
    return made_in(source) is Purpose.KV_CACHE and not any("cat(" in line for line in source[-_LAST_SOURCE:])


# Lines that mark the way of a start, whoever prints them.
_MARKS: Final[tuple[tuple[Stage, tuple[str, ...]], ...]] = (
    (
        Stage.SHUTDOWN,
        (r"Received (?:SIGTERM|SIGINT)|[Ss]hutting down|Gracefully stopping|KeyboardInterrupt|SystemExit: 0|Stopping server",),
    ),
    (
        Stage.FIRST_PROMPT,
        (
            r"Application startup complete|Uvicorn running on|The server is fired up|server is listening on|all slots are idle",
            r"main: model loaded|Starting vLLM (?:API )?server|Connected \(version|llama runner started|Listening on \S+:\d+",
            r"Model (?:successfully )?loaded\b|compute buffer size|Prefill batch|Output generated in \d|\bprefill\{id=",
            r"Method Prefill encountered|Request failed during generation|Setting max batch total tokens",
            r'"POST /(?:v1/|api/)?(?:chat|completions|generate|embed|messages|responses)',
            r"_log_task_completion|[Ww]hen (?:the|a) first (?:request|prompt)",
            # ggml's pool of a step's temporaries
            r"in function alloc at \S*ggml-cuda",
            r"(?:context|prompt|input) (?:is|was|gets) (?:\w+er|more) than \d",
            r"Background loop (?:has errored|is stopped)|[Ee]ngine (?:background task|loop) (?:failed|has died|is not)",
        ),
    ),
    (Stage.SAMPLER, (r"Graph capturing finished|Capture \w+ ?\w* ?graph end",)),
    (
        Stage.CAPTURE,
        (
            r"Capturing (?:the model for CUDA|CUDA|cudagraph|batches|num tokens)|capturing cuda graph",
            r"Maximum concurrency for [\d,]+ tokens",
            r"Capture (?:cuda|decode|prefill|piecewise) ?\w* ?graph begin",
        ),
    ),
    (
        Stage.PROFILE,
        (
            r"(?:processing|executing) method '?(?:determine_\w+|profile_\w+)",
            r"[Pp]rofil(?:ing|e) (?:run\b|CUDA graph|memory)|Encoder cache will be initialized with a budget",
            r"Dynamo bytecode transform|torch\.compile takes|Warming up model|Method Warmup encountered",
            r"[Nn]o enough gpu memory for (?!kv|state)",
        ),
    ),
    (
        Stage.CACHE,
        (
            r"(?:processing|executing) method '?init(?:ialize_cache|ialize_from_config|_cache_engine)",
            r"llama_context: constructing|llama_(?:new_context_with_model|init_from_model|context): n_ctx\b",
        ),
    ),
    (
        Stage.LOAD,
        (
            r"Starting to load model|Loading (?:safetensors|pt|model|weights|checkpoint)(?!.{0,20} took)|Load weight begin",
            r"load_tensors: loading|llm_load_tensors|loading model tensors|model buffer size|msg=\"model weights\"",
            r"[Ll]oading (?:draft )?(?:model )?modules|[Ll]oading \S+\.(?:weight|bias|qweight) to ",
            r"Shard \d+ failed to start|ShardCannotStart|(?i:loading (?:checkpoint )?shards)",
        ),
    ),
)
_MARK_PATTERNS: Final = tuple((stage, re.compile("|".join(texts))) for stage, texts in _MARKS)
FOUND: Final = (*_FRAMES, _CUT, *(pattern for _, pattern in _MARK_PATTERNS))  # one in every line that is a function's or a mark
# Facts of engines after which a stage has been passed: the run is in the one named here.
AFTER_FACT: Final = {
    "loading": Stage.LOAD,
    "weights_bytes": Stage.PROFILE,
    "activation_bytes": Stage.CACHE,
    "available_kv_bytes": Stage.CACHE,
    "kv_blocks": Stage.CACHE,
    "kv_tokens": Stage.CACHE,
    "kv_bytes": Stage.CACHE,
    "kv_total_bytes": Stage.PROFILE,
    "free_after_pool_bytes": Stage.CAPTURE,
    "graph_bytes": Stage.SAMPLER,
    "graph_seconds": Stage.SAMPLER,
    "ready": Stage.FIRST_PROMPT,
    "listening": Stage.FIRST_PROMPT,
    "kv_cache_usage": Stage.FIRST_PROMPT,
    "batch": Stage.FIRST_PROMPT,
}


def mark_of(text: str) -> Stage | None:
    """The stage that a line says has begun, or None."""
    return next((stage for stage, pattern in _MARK_PATTERNS if pattern.search(text)), None)
