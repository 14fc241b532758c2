"""Switches of SGLang's server, which take no value: kind, first and last release that has them, names (``name=other-name``)."""

from typing import Final

SWITCHES: Final[tuple[tuple[str, str, str, str], ...]] = (
    (
        "switch",
        "0.4.0",
        "0.4.0",
        "disable-disk-cache disable-flashinfer disable-flashinfer-sampling disable-nan-detection enable-overlap-schedule",
    ),
    ("switch", "0.4.0", "0.4.3", "disable-jump-forward"),
    ("switch", "0.4.0", "0.4.4", "disable-mla"),
    ("switch", "0.4.0", "0.5.10", "enable-double-sparsity"),
    ("switch", "0.4.0", "0.5.12", "enable-nan-detection"),
    (
        "switch",
        "0.4.0",
        "",
        (
            "delete-ckpt-after-loading disable-cuda-graph disable-cuda-graph-padding disable-custom-all-reduce "
            "disable-outlines-disk-cache disable-overlap-schedule disable-radix-cache enable-cache-report enable-dp-attention "
            "enable-metrics enable-mixed-chunk enable-p2p-check enable-torch-compile is-embedding log-requests show-time-cost "
            "skip-tokenizer-init triton-attention-reduce-in-fp32 trust-remote-code"
        ),
    ),
    ("switch", "0.4.3", "0.4.3", "return-hidden-states"),
    ("switch", "0.4.3", "0.4.7", "enable-flashinfer-mla"),
    ("switch", "0.4.3", "0.5.4", "enable-ep-moe"),
    ("switch", "0.4.3", "0.5.19", "stream-output"),
    (
        "switch",
        "0.4.3",
        "",
        "allow-auto-truncate enable-custom-logit-processor enable-hierarchical-cache=enable-hicache enable-memory-saver enable-nccl-nvls",
    ),
    ("switch", "0.4.4", "", "flashinfer-mla-disable-ragged"),
    ("switch", "0.4.5", "0.4.5", "enable-llama4-multimodal"),
    ("switch", "0.4.5", "0.4.7", "enable-flashmla"),
    ("switch", "0.4.5", "0.5.4", "enable-deepep-moe"),
    ("switch", "0.4.5", "", "disable-chunked-prefix-cache disable-fast-image-processor enable-tokenizer-batch-encode"),
    ("switch", "0.4.6", "0.5.19", "collect-tokens-histogram"),
    ("switch", "0.4.6", "", "enable-dp-lm-head enable-eplb enable-multimodal enable-request-time-stats-logging"),
    ("switch", "0.4.7", "", "disable-shared-experts-fusion enable-mscclpp enable-two-batch-overlap"),
    ("switch", "0.4.8", "0.4.9", "disable-overlap-cg-plan enable-flashinfer-moe"),
    ("switch", "0.4.8", "0.5.3", "debug-tensor-dump-prefill-only"),
    ("switch", "0.4.8", "", "enable-profile-cuda-graph enable-return-hidden-states sleep-on-idle weight-loader-disable-mmap"),
    ("switch", "0.4.9", "0.5.4", "enable-triton-kernel-moe"),
    ("switch", "0.4.9", "", "enable-flashinfer-allreduce-fusion skip-server-warmup"),
    ("switch", "0.5.1", "0.5.4", "enable-flashinfer-cutlass-moe enable-flashinfer-mxfp4-moe enable-flashinfer-trtllm-moe"),
    (
        "switch",
        "0.5.1",
        "",
        (
            "disable-flashinfer-cutlass-moe-fp4-allgather disable-hybrid-swa-memory enable-cudagraph-gc enable-lora "
            "enable-metrics-for-all-schedulers enable-pdmux enable-symm-mem"
        ),
    ),
    ("switch", "0.5.2", "0.5.19", "prefill-round-robin-balance"),
    ("switch", "0.5.2", "", "enable-lmcache"),
    ("switch", "0.5.3", "0.5.4", "enable-flashinfer-cutedsl-moe"),
    ("switch", "0.5.3", "0.5.20", "keep-mm-feature-on-device"),
    (
        "switch",
        "0.5.3",
        "",
        (
            "disaggregation-decode-enable-offload-kvcache enable-deterministic-inference enable-dynamic-batch-tokenizer "
            "enable-fp32-lm-head enable-priority-scheduling enable-single-batch-overlap enable-torch-symm-mem enable-trace "
            "enable-weights-cpu-backup schedule-low-priority-values-first"
        ),
    ),
    ("switch", "0.5.4", "0.5.4", "enable-beta-spec"),
    ("switch", "0.5.4", "0.5.13", "enable-piecewise-cuda-graph"),
    (
        "switch",
        "0.5.4",
        "",
        (
            "abort-on-priority-when-disabled checkpoint-engine-wait-weights-before-ready constrained-json-disable-any-whitespace "
            "disable-tokenizer-batch-decode grpc-mode quantize-and-serve"
        ),
    ),
    ("switch", "0.5.6", "0.5.6", "enable-flashinfer-autotune"),
    ("switch", "0.5.6", "0.5.19", "enable-nsa-prefill-context-parallel"),
    (
        "switch",
        "0.5.6",
        "",
        (
            "enable-attn-tp-input-scattered enable-broadcast-mm-inputs-process enable-draft-weights-cpu-backup "
            "enable-layerwise-nvtx-marker enable-torch-compile-debug-mode export-metrics-to-file mm-enable-dp-encoder"
        ),
    ),
    ("switch", "0.5.8", "0.5.8", "disaggregation-decode-enable-fake-auto"),
    ("switch", "0.5.8", "0.5.9", "disable-hicache-numa-detect"),
    (
        "switch",
        "0.5.8",
        "",
        (
            "disable-flashinfer-autotune enable-dynamic-chunking enable-fused-qk-norm-rope enable-lora-overlap-loading "
            "enable-multi-layer-eagle enable-precise-embedding-interpolation enable-prefill-delayer enable-prefix-mm-cache "
            "enable-return-routed-experts encoder-only language-only remote-instance-weight-loader-start-seed-via-transfer-engine"
        ),
    ),
    ("switch", "0.5.10", "0.5.19", "disable-piecewise-cuda-graph enable-prefill-context-parallel enforce-piecewise-cuda-graph"),
    (
        "switch",
        "0.5.10",
        "",
        (
            "disable-priority-preemption enable-adaptive-dispatch-to-encoder enable-aiter-allreduce-fusion "
            "enable-elastic-expert-backup enable-fused-moe-sum-all-reduce enable-hisparse enable-mfu-metrics enable-mm-global-cache "
            "enable-ssl-refresh enable-streaming-session enforce-disable-flashinfer-allreduce-fusion experts-shared-outer-loras "
            "incremental-streaming-output pre-warm-nccl stream-response-default-include-usage use-ray"
        ),
    ),
    ("switch", "0.5.11", "0.5.12", "record-nolora-graph"),
    ("switch", "0.5.11", "0.5.19", "enable-breakable-cuda-graph"),
    ("switch", "0.5.11", "0.5.20", "elastic-ep-rejoin speculative-skip-dp-mlp-sync"),
    (
        "switch",
        "0.5.11",
        "",
        (
            "debug-cuda-graph disaggregation-decode-enable-radix-cache enable-dp-attention-local-control-broadcast enable-http2 "
            "enable-mis enable-quant-communications enforce-shared-experts-fusion lora-strict-loading lora-use-virtual-experts "
            "speculative-adaptive strip-thinking-cache weight-loader-prefetch-checkpoints"
        ),
    ),
    ("switch", "0.5.12", "0.5.15", "enable-deepep-waterfill"),
    (
        "switch",
        "0.5.12",
        "",
        (
            "enable-forward-pass-metrics enable-return-indexer-topk enable-strict-thinking prefill-only-disable-kv-cache "
            "weight-loader-drop-cache-after-load"
        ),
    ),
    ("switch", "0.5.13", "0.5.19", "enable-dsa-prefill-context-parallel"),
    ("switch", "0.5.13", "", "disable-attn-tp-gather enable-deepseek-v4-fp4-indexer"),
    (
        "switch",
        "0.5.14",
        "",
        (
            "disable-decode-cuda-graph disable-prefill-cuda-graph enable-int8-mamba-checkpoint enable-prefill-cp "
            "speculative-use-rejection-sampling"
        ),
    ),
    (
        "switch",
        "0.5.15",
        "",
        (
            "enable-linear-replayssm enable-mamba-cache-stochastic-rounding enable-page-major-kv-layout enable-session-radix-cache "
            "enable-tf32-matmul enable-unified-memory"
        ),
    ),
    ("switch", "0.5.16", "0.5.19", "enable-gdn-replayssm-spec"),
    (
        "switch",
        "0.5.16",
        "",
        (
            "dllm-fdfo enable-dsa-cache-layer-split enable-flexkv enable-scattered-sconv enable-waterfill smg-grpc-mode "
            "speculative-dspark-align-verify-tokens-to-graph-tier"
        ),
    ),
    ("switch", "0.5.17", "", "dcp-replicate-q-proj enable-cp-decode-attn-tp enable-linear-replayssm-spec"),
    (
        "switch",
        "0.5.19",
        "",
        (
            "enable-dense-mlp-attn-tp enable-layernorm-sp enable-lean-attention enable-shared-experts-attn-tp "
            "enable-tp-lm-head-all-to-all enable-w4a4-mxfp4-megamoe language-model-only mlx-enable-sampling trust-mm-content-hashes"
        ),
    ),
    (
        "switch",
        "0.5.20",
        "",
        "enable-response-store enable-unified-cache-external-linker ple-offload-embedding return-input-ids return-output-ids",
    ),
    (
        "switch",
        "0.5.23",
        "",
        (
            "disable-aiter-allreduce-fusion-in-decode disable-aiter-allreduce-fusion-in-prefill disaggregation-enable-kv-checksum "
            "enable-amd-monokernel enable-decoder-swa-bounded-replay enable-dsa-fused-indexer enable-encoder-swa-bounded-replay "
            "enable-http-worker-reuseport enable-kv-cache-sharding enable-linker-mla-dedup enable-megamoe-for-layernorm-sp "
            "enable-nvidia-megakernel enable-paged-experts enable-pd-role-switch enable-return-aux-hidden-states enable-watermark "
            "monokernel-backend speculative-enable-w4a4-mxfp4-megamoe speculative-use-block-verification trust-request-chat-template"
        ),
    ),
)
