"""What looks like a secret, so that it is never written down: by the name of a setting, or by the form of its value."""

import re

# A name is cut at its underscores; `max_num_batched_tokens` and `bytes_per_token` are counts, `hf_token` and `api_key` are not.
_SECRET_WORDS = frozenset(
    {"secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "authorization", "bearer", "apikey", "auth"}
)
_SECRET_ENDS = frozenset({"key", "keys", "keyfile", "token", "cookie"})
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
# The forms in which services hand out keys, and a password within an address.
_SECRET_VALUE = re.compile(
    r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abp]-|AKIA|ASIA|AIza|eyJ)[A-Za-z0-9_.\-]{12,}"
    r"|(?i:\bbearer\s+\S{8,})"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:\b(?:api[_-]?key|hf[_-]token|password|secret)\b[=:\s]+)\S+"
)
REMOVED = "[removed]"


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name holds a secret."""
    parts = [part.lower() for part in _NAME_PARTS.findall(name)]
    if not parts:
        return False
    counts = len(parts) > 1 and parts[-2] in {"per", "by"}
    return not _SECRET_WORDS.isdisjoint(parts) or (parts[-1] in _SECRET_ENDS and not counts)


def holds_secret(text: str) -> bool:
    """Whether a text holds something in the form of a secret."""
    return _SECRET_VALUE.search(text) is not None


def scrub(text: str) -> str:
    """The text with everything in the form of a secret taken out."""
    return _SECRET_VALUE.sub(REMOVED, text)
