"""Flags of SGLang's server whose values are numbers or lists: kind, first and last release that has them, names (``name=other-name``)."""

from typing import Final

NUMBERS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("int", "0.4.0", "0.5.10", "ds-heavy-channel-num ds-heavy-token-num ds-sparse-decode-threshold"),
    ("int", "0.4.0", "0.5.19", "cuda-graph-max-bs"),
    (
        "int",
        "0.4.0",
        "",
        (
            "base-gpu-id chunked-prefill-size context-length cpu-offload-gb decode-log-interval dp-size=data-parallel-size "
            "max-loras-per-batch max-prefill-tokens max-running-requests max-total-tokens nnodes node-rank "
            "num-continuous-decode-steps port random-seed stream-interval torch-compile-max-bs tp-size=tensor-parallel-size"
        ),
    ),
    (
        "int",
        "0.4.3",
        "",
        (
            "ep-size=ep=expert-parallel-size speculative-eagle-topk speculative-num-draft-tokens speculative-num-steps "
            "triton-attention-num-kv-splits"
        ),
    ),
    ("int", "0.4.4", "", "dist-timeout gpu-id-step log-requests-level page-size"),
    ("int", "0.4.5", "0.4.6", "n-share-experts-fusion"),
    ("int", "0.4.5", "", "disaggregation-bootstrap-port hicache-size moe-dense-tp-size"),
    ("int", "0.4.6", "0.5.3", "max-micro-batch-size"),
    (
        "int",
        "0.4.6",
        "",
        "ep-num-redundant-experts eplb-rebalance-num-iterations expert-distribution-recorder-buffer-size pp-size=pipeline-parallel-size",
    ),
    ("int", "0.4.7", "", "eplb-rebalance-layers-per-chunk"),
    ("int", "0.4.8", "0.5.9", "disaggregation-decode-dp disaggregation-decode-tp disaggregation-prefill-pp"),
    ("int", "0.4.8", "", "num-reserved-decode-tokens"),
    ("int", "0.4.9", "", "nccl-port"),
    (
        "int",
        "0.5.1",
        "",
        (
            "max-loaded-loras max-lora-rank max-queued-requests offload-group-size offload-num-in-group offload-prefetch-step "
            "scheduler-recv-interval sm-group-num"
        ),
    ),
    ("int", "0.5.2", "", "max-mamba-cache-size tokenizer-worker-num"),
    (
        "int",
        "0.5.3",
        "0.5.9",
        "speculative-ngram-branch-length speculative-ngram-max-match-window-size speculative-ngram-min-match-window-size",
    ),
    (
        "int",
        "0.5.3",
        "",
        (
            "disaggregation-decode-polling-interval dynamic-batch-tokenizer-batch-size max-lora-chunk-size "
            "priority-scheduling-preemption-threshold remote-instance-weight-loader-seed-instance-service-port "
            "speculative-ngram-capacity speculative-ngram-max-bfs-breadth speculative-ngram-min-bfs-breadth "
            "triton-attention-split-tile-size"
        ),
    ),
    ("int", "0.5.4", "0.5.10", "multi-item-scoring-delimiter"),
    ("int", "0.5.4", "0.5.19", "piecewise-cuda-graph-max-tokens"),
    ("int", "0.5.4", "", "kt-cpuinfer kt-num-gpu-experts kt-threadpool-count pp-max-micro-batch-size"),
    ("int", "0.5.5", "0.5.9", "mm-max-concurrent-calls mm-per-request-timeout"),
    ("int", "0.5.5", "", "kt-max-deferred-experts-per-token"),
    ("int", "0.5.6", "0.5.6", "dllm-block-size"),
    (
        "int",
        "0.5.8",
        "",
        "limit-mm-data-per-request mamba-track-interval pp-async-batch-depth prefill-delayer-max-delay-passes prefill-max-requests",
    ),
    ("int", "0.5.9", "", "attn-cp-size=attention-context-parallel-size moe-dp-size=moe-data-parallel-size"),
    ("int", "0.5.10", "", "default-priority-value engine-info-bootstrap-port speculative-ngram-max-trie-depth"),
    ("int", "0.5.11", "0.5.19", "speculative-dflash-draft-window-size=speculative-draft-window-size"),
    (
        "int",
        "0.5.11",
        "",
        (
            "batch-notify-size speculative-dflash-block-size speculative-ngram-external-corpus-max-tokens "
            "speculative-ngram-external-sam-budget weight-loader-prefetch-num-threads"
        ),
    ),
    ("int", "0.5.12", "", "detokenizer-worker-num speculative-draft-window-size=speculative-dflash-draft-window-size"),
    ("int", "0.5.13", "0.5.15", "optimistic-prefill-retries"),
    (
        "int",
        "0.5.13",
        "",
        (
            "asr-max-buffer-seconds asr-max-concurrent-sessions encoder-bootstrap-port kv-canary-sweep-interval "
            "load-snapshot-publish-interval"
        ),
    ),
    ("int", "0.5.14", "", "cuda-graph-max-bs-decode cuda-graph-max-bs-prefill disaggregation-decode-extra-slots int8-mamba-ckpt-size "),
    (
        "int",
        "0.5.15",
        "",
        (
            "dcp-size=decode-context-parallel-size decoupled-spec-rank linear-replayssm-cache-len mamba-cache-philox-rounds "
            "min-free-slots-delay"
        ),
    ),
    (
        "int",
        "0.5.16",
        "",
        (
            "elastic-ep-initial-size ep-join-rank-offset grpc-port max-ep-size optimistic-prefill-attempts "
            "smg-http-sidecar-port=grpc-http-sidecar-port speculative-dspark-block-size"
        ),
    ),
    ("int", "0.5.17", "", "dwdp-size mamba-max-states-per-path mm-io-worker-num mm-processor-worker-num weight-cache-timeout"),
    (
        "int",
        "0.5.19",
        "",
        (
            "c128-page-size gated-launch-port hicache-storage-prefetch-retry-max-attempts "
            "hicache-storage-prefetch-retry-poll-interval http2-initial-connection-window-size http2-max-concurrent-streams "
            "media-url-max-file-size-mb mm-preprocess-cache-size-mb prefill-decode-interval"
        ),
    ),
    ("int", "0.5.20", "", "sampling-mask-max-tokens speculative-domino-candidate-pool-size"),
    (
        "int",
        "0.5.23",
        "",
        (
            "attn-dp-size=attention-data-parallel-size constrained-json-max-whitespace-cnt cuda-graph-max-seq-len-prefill "
            "cuda-graph-prefill-max-context=context-bucket dsa-triton-union grpc-response-timeout-secs paged-experts-num-resident "
            "prefill-decode-interval-min-bs shared-experts-tp-size speculative-draft-sink-size swa-prefix-tails"
        ),
    ),
    ("float", "0.4.0", "", "mem-fraction-static schedule-conservativeness watchdog-timeout"),
    ("float", "0.4.4", "", "speculative-accept-threshold-acc speculative-accept-threshold-single"),
    ("float", "0.4.5", "", "hicache-ratio"),
    ("float", "0.4.9", "0.5.13", "hybrid-kvcache-ratio"),
    ("float", "0.5.1", "", "gc-warning-threshold-secs swa-full-tokens-ratio tbo-token-distribution-threshold"),
    ("float", "0.5.2", "", "eplb-min-rebalancing-utilization-threshold"),
    ("float", "0.5.3", "0.5.6", "load-watch-interval"),
    ("float", "0.5.3", "", "dynamic-batch-tokenizer-batch-timeout"),
    ("float", "0.5.4", "", "mamba-full-memory-ratio"),
    ("float", "0.5.8", "", "prefill-delayer-token-usage-low-watermark soft-watchdog-timeout"),
    ("float", "0.5.12", "", "lora-drain-wait-threshold prefill-delayer-max-delay-ms prefill-delayer-queue-min-ratio"),
    ("float", "0.5.16", "", "elastic-ep-scale-timeout"),
    ("float", "0.5.23", "", "disaggregation-decode-host-receive-threshold hicache-host-memory-fraction"),
    ("list", "0.4.3", "0.5.19", "cuda-graph-bs"),
    ("list", "0.4.6", "", "bucket-e2e-request-latency bucket-inter-token-latency bucket-time-to-first-token"),
    ("list", "0.4.8", "", "custom-weight-loader"),
    ("list", "0.5.1", "", "lora-target-modules"),
    ("list", "0.5.2", "", "generation-tokens-buckets numa-node prompt-tokens-buckets"),
    ("list", "0.5.3", "", "remote-instance-weight-loader-send-weights-group-ports tokenizer-metrics-allowed-custom-labels"),
    ("list", "0.5.4", "0.5.19", "piecewise-cuda-graph-tokens"),
    ("list", "0.5.5", "", "debug-tensor-dump-layers"),
    ("list", "0.5.6", "", "forward-hooks"),
    (
        "list",
        "0.5.8",
        "",
        (
            "encoder-urls log-requests-target prefill-delayer-forward-passes-buckets prefill-delayer-wait-seconds-buckets "
            "uvicorn-access-log-exclude-prefixes"
        ),
    ),
    ("list", "0.5.10", "", "gc-threshold"),
    ("list", "0.5.13", "", "encoder-register-urls"),
    ("list", "0.5.14", "", "cuda-graph-bs-decode cuda-graph-bs-prefill"),
    ("list", "0.5.15", "", "decoupled-spec-connect-endpoints"),
    ("list", "0.5.16", "", "sidecar-args"),
    ("list", "0.5.17", "", "flashinfer-autotune-skip-ops"),
    ("list", "0.5.19", "", "allowed-media-domains"),
    ("list", "0.5.23", "", "return-aux-hidden-state-layer-ids"),
)
