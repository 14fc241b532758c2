"""Flags of SGLang's server whose values are words: kind, first and last release that has them, names (``name=other-name``)."""

from typing import Final

WORDS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("text", "0.4.0", "0.4.3", "file-storage-pth"),
    ("text", "0.4.0", "0.5.10", "ds-channel-config-path ds-heavy-channel-type"),
    ("text", "0.4.0", "0.5.17", "torchao-config"),
    (
        "text",
        "0.4.0",
        "",
        (
            "api-key attention-backend chat-template constrained-json-whitespace-pattern device dist-init-addr=nccl-init-addr "
            "download-dir dtype grammar-backend host json-model-override-args kv-cache-dtype load-balance-method load-format "
            "log-level log-level-http lora-paths model-path=model quantization revision sampling-backend schedule-policy "
            "served-model-name tokenizer-mode tokenizer-path"
        ),
    ),
    ("text", "0.4.3", "0.4.3", "prefill-only-one-req"),
    (
        "text",
        "0.4.3",
        "",
        "lora-backend quantization-param-path speculative-algorithm speculative-draft-model-path=speculative-draft-model tool-call-parser",
    ),
    ("text", "0.4.4", "0.5.13", "debug-tensor-dump-inject"),
    (
        "text",
        "0.4.4",
        "",
        "debug-tensor-dump-input-file debug-tensor-dump-output-folder file-storage-path reasoning-parser speculative-token-map warmups",
    ),
    (
        "text",
        "0.4.5",
        "",
        (
            "completion-template deepep-mode disaggregation-ib-device disaggregation-mode disaggregation-transfer-backend "
            "hicache-write-policy"
        ),
    ),
    ("text", "0.4.6", "0.5.1", "pdlb-url"),
    ("text", "0.4.6", "0.5.19", "enable-expert-distribution-metrics"),
    (
        "text",
        "0.4.6",
        "",
        (
            "deepep-config ep-dispatch-algorithm expert-distribution-recorder-mode init-expert-location kv-events-config "
            "mm-attention-backend preferred-sampling-params"
        ),
    ),
    ("text", "0.4.7", "0.4.9", "impl"),
    ("text", "0.4.7", "", "eplb-algorithm"),
    ("text", "0.4.8", "", "model-loader-extra-config"),
    ("text", "0.4.9", "", "crash-dump-folder hicache-io-backend"),
    (
        "text",
        "0.5.1",
        "",
        (
            "decode-attention-backend flashinfer-mxfp4-moe-precision hicache-mem-layout hicache-storage-backend "
            "hicache-storage-prefetch-policy model-impl moe-a2a-backend moe-runner-backend offload-mode prefill-attention-backend "
            "tool-server weight-version"
        ),
    ),
    (
        "text",
        "0.5.2",
        "",
        "hicache-storage-backend-extra-config mamba-ssm-dtype speculative-attention-mode speculative-draft-model-revision",
    ),
    ("text", "0.5.3", "0.5.3", "nsa-decode nsa-prefill"),
    ("text", "0.5.3", "0.5.4", "oltp-traces-endpoint"),
    (
        "text",
        "0.5.3",
        "",
        (
            "config radix-eviction-policy remote-instance-weight-loader-seed-instance-ip speculative-ngram-match-type "
            "tokenizer-metrics-custom-labels-header"
        ),
    ),
    ("text", "0.5.4", "0.5.5", "kt-amx-method kt-amx-weight-path"),
    ("text", "0.5.4", "0.5.19", "nsa-decode-backend nsa-prefill-backend piecewise-cuda-graph-compiler"),
    (
        "text",
        "0.5.4",
        "",
        (
            "elastic-ep-backend lora-eviction-policy modelopt-checkpoint-restore-path modelopt-checkpoint-save-path "
            "modelopt-export-path modelopt-quant mooncake-ib-device pdmux-config-path sampling-defaults speculative-draft-load-format"
        ),
    ),
    (
        "text",
        "0.5.5",
        "",
        "decrypted-config-file decrypted-draft-config-file otlp-traces-endpoint rl-on-policy-target speculative-moe-runner-backend",
    ),
    ("text", "0.5.6", "", "dllm-algorithm export-metrics-to-file-dir fastapi-root-path kt-method kt-weight-path mm-process-config "),
    ("text", "0.5.8", "0.5.13", "fp4-gemm-backend fp8-gemm-backend"),
    ("text", "0.5.8", "0.5.19", "custom-sigquit-handler mamba-scheduler-strategy nsa-prefill-cp-mode"),
    (
        "text",
        "0.5.8",
        "",
        (
            "admin-api-key dllm-algorithm-config encoder-transfer-backend hf-chat-template-name log-requests-format model-checksum "
            "remote-instance-weight-loader-backend rl-quant-profile speculative-draft-attention-backend "
            "speculative-draft-model-quantization speculative-moe-a2a-backend"
        ),
    ),
    ("text", "0.5.9", "", "extra-metric-labels mamba-backend"),
    ("text", "0.5.10", "0.5.19", "prefill-cp-mode"),
    (
        "text",
        "0.5.10",
        "",
        (
            "hisparse-config=hierarchical-sparse-attention-extra-config linear-attn-backend linear-attn-decode-backend "
            "linear-attn-prefill-backend modelexpress-config ssl-ca-certs ssl-certfile ssl-keyfile ssl-keyfile-password"
        ),
    ),
    ("text", "0.5.11", "", "msprobe-dump-config speculative-adaptive-config speculative-ngram-external-corpus-path tokenizer-backend "),
    ("text", "0.5.12", "", "forward-pass-metrics-ipc-name forward-pass-metrics-worker-id model-config-parser"),
    ("text", "0.5.13", "0.5.19", "dsa-prefill-cp-mode"),
    (
        "text",
        "0.5.13",
        "",
        (
            "deepep-dispatcher-output-dtype dsa-decode-backend dsa-prefill-backend dsa-topk-backend kv-canary kv-canary-real-data "
            "lmcache-config-file radix-cache-backend trace-modules"
        ),
    ),
    ("text", "0.5.14", "0.5.20", "cuda-graph-tc-compiler"),
    (
        "text",
        "0.5.14",
        "",
        (
            "cp-strategy cuda-graph-backend-decode cuda-graph-backend-prefill cuda-graph-config flashinfer-allreduce-fusion-backend "
            "fp4-gemm-runner-backend fp8-gemm-runner-backend mamba-radix-cache-strategy"
        ),
    ),
    (
        "text",
        "0.5.15",
        "",
        "bf16-gemm-backend decoupled-spec-bind-endpoint decoupled-spec-role dsa-paged-mqa-logits-backend spec-trace-dir",
    ),
    (
        "text",
        "0.5.16",
        "",
        (
            "default-chat-template-kwargs ep-join-mode flexkv-config-file fuseep-mode mm-feature-transport retraction-policy sidecar "
            "speculative-dspark-confidence-sts-path speculative-dspark-sps-table-path"
        ),
    ),
    ("text", "0.5.17", "0.5.19", "stat-loggers"),
    ("text", "0.5.17", "", "dcp-comm-backend linear-attn-verify-backend return-hidden-states-mode weight-cache-mode weight-cache-socket "),
    (
        "text",
        "0.5.19",
        "",
        (
            "deepep-v2-mode disaggregation-decode-retraction-backup dsv4-prefill-backend expert-balancedness-report-mode "
            "hicache-host-memory-mode image-processor-backend load-publish-endpoint mm-global-cache-backend "
            "speculative-draft-kv-cache-dtype speculative-dsa-topk-backend startup-weight-load-mode"
        ),
    ),
    (
        "text",
        "0.5.20",
        "",
        (
            "dsv4-attn-backend flashinfer-a2a-dispatch-type ple-offload-backend ple-offload-dir radix-eviction-policy-config "
            "unified-cache-external-linker-backend uno-lora-path"
        ),
    ),
    (
        "text",
        "0.5.23",
        "",
        (
            "boundary-reduction disaggregation-decode-allocation-policy otlp-service-name prefill-kv-cache-dequant-dtype "
            "qsa-indexer-dtype unified-cache-external-linker-config watermark-config"
        ),
    ),
)
