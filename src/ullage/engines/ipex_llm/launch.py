"""How IPEX-LLM is started: its servers, its benchmark, and the script for ``generate``."""

import re
from typing import Final

from ullage.engines.ipex_llm.settings import API, VLLM
from ullage.frozen import dataclass

SERVER: Final = "ipex_llm.vllm.{device}.entrypoints.openai.api_server"
ONE_SERVER: Final = "ipex_llm.vllm.entrypoints.openai.api_server"
BIGDL_SERVER: Final = "bigdl.llm.vllm.entrypoints.openai.api_server"
SCRIPT: Final = "ipex_llm_generate.py"
_MODULE = re.compile(r"(?:ipex_llm\.vllm\.(?:(xpu|cpu)\.)?|bigdl\.llm\.vllm\.)(?:entrypoints\.(?:openai\.)?api_server)")
_ALMOST = re.compile(r"(?:ipex_llm|bigdl\.llm)\.vllm\.[\w.]*")
_BENCHMARK = re.compile(r"(?:.*/)?benchmark_(?:docker_|vllm_)?(?:throughput|latency)\.py")
_OWN = re.compile(r"(?:.*/)?benchmark_(?:docker|vllm)_throughput\.py")

# Written for PACKAGE, HUB and TORCH, which `script_text` names.
_SCRIPT_TEXT: Final = '''"""One prompt through IPEX-LLM's Transformers-style API."""

import argparse

from PACKAGE.transformers import AutoModelForCausalLM
from HUB import AutoTokenizer

parser = argparse.ArgumentParser()
for name in ("--model", "--device", "--load-in-low-bit", "--dtype", "--embedding-qtype", "--kv-cache-dtype"):
    parser.add_argument(name)
for name in ("--context", "--concurrency", "--pipeline-parallel-size"):
    parser.add_argument(name, type=int, default=1)
parser.add_argument("--max-new-tokens", type=int, default=0)
for name in ("--cpu-embedding", "--mixed-precision"):
    parser.add_argument(name, action="store_true")
args = parser.parse_args()

import TORCH

dtype = getattr(TORCH, args.dtype or "float32")
options = {"embedding_qtype": args.embedding_qtype} if args.embedding_qtype else {}
if args.pipeline_parallel_size > 1:
    options["pipeline_parallel_stages"] = args.pipeline_parallel_size
model = AutoModelForCausalLM.from_pretrained(
    args.model, load_in_low_bit=args.load_in_low_bit, torch_dtype=dtype, cpu_embedding=args.cpu_embedding,
    mixed_precision=args.mixed_precision, optimize_model=True, trust_remote_code=True, use_cache=True, **options,
).to(args.device)
tokens = AutoTokenizer.from_pretrained(args.model, trust_remote_code=True).encode("a " * args.context, return_tensors="pt")
# The plan holds for any split of the context: unless an answer is said, it counts a prompt of all but one token, which takes the most.
answer = args.max_new_tokens or max(1, min(512, args.context // 4))
prompt = tokens[:, : args.context - answer].repeat(args.concurrency, 1).to(args.device)
with TORCH.inference_mode():
    print(model.generate(prompt, max_new_tokens=answer).shape)
'''


def script_text(*, bigdl: bool) -> str:
    """The script for ``generate``."""
    named = {"PACKAGE": "bigdl.llm" if bigdl else "ipex_llm", "HUB": "transformers", "TORCH": "torch"}
    text = _SCRIPT_TEXT
    for word, module in named.items():
        text = text.replace(word, module)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a command starts, the words after it, and whether a module was named that does not exist."""

    mode: str
    args: tuple[str, ...]
    bigdl: bool = False
    wrong_module: str | None = None


def find_launch(words: tuple[str, ...]) -> Launch | None:
    """The part of a command line that starts IPEX-LLM, behind numactl, env, docker exec and the like; None where none does."""
    for index, word in enumerate(words):
        rest = words[index + 1 :]
        if word == "-m" and rest and _ALMOST.fullmatch(rest[0]):
            known = _MODULE.fullmatch(rest[0]) is not None
            return Launch(mode=VLLM, args=rest[1:], bigdl=rest[0].startswith("bigdl"), wrong_module=None if known else rest[0])
        if _BENCHMARK.fullmatch(word) and (_OWN.fullmatch(word) or any(arg.startswith("--load-in-low-bit") for arg in rest)):
            return Launch(mode=VLLM, args=rest)
        if word == SCRIPT or word.endswith("/" + SCRIPT):
            return Launch(mode=API, args=rest)
    return None
