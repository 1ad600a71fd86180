"""A `tokenizer.json` of Hugging Face's `tokenizers`: how many bytes of text each of its tokens is."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

_ONE_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # of SentencePiece's byte fallback
_SPACE = "▁"  # SentencePiece's sign for a space


def bytes_of_tokenizer_json(content: str) -> np.ndarray[Any, Any] | None:
    """Of Hugging Face's `tokenizers` as JSON, by how it decodes: byte-level BPE, or SentencePiece with its sign for a
    space (which it also puts before a text: one byte more than there is, once a document). None for any other."""
    made = json.loads(content)
    kinds = _kinds(made.get("decoder") or {})
    vocabulary = _vocabulary(made["model"].get("vocab") or {})
    if "ByteLevel" in kinds:
        sizes = {number: len(token) for token, number in vocabulary.items()}  # one sign stands for each byte
    elif {"Metaspace", "Replace"} & kinds:
        sizes = {number: _as_sentence_piece(token) for token, number in vocabulary.items()}
    else:
        return None
    for token in made.get("added_tokens") or []:
        sizes[token["id"]] = 0 if token.get("special") else len(token["content"].encode())
    table = np.zeros(max(sizes, default=-1) + 1, np.int64)
    table[list(sizes)] = list(sizes.values())
    return table


def _as_sentence_piece(token: str) -> int:
    return 1 if _ONE_BYTE.fullmatch(token) else len(token.replace(_SPACE, " ").encode())


def _kinds(decoder: dict[str, Any]) -> set[str]:
    return {decoder.get("type", "")}.union(*(_kinds(part) for part in decoder.get("decoders", [])))


def _vocabulary(given: Any) -> dict[str, int]:
    """Token → id; of Unigram's list of (token, score) the place is the id."""
    return given if isinstance(given, dict) else {token: number for number, (token, _) in enumerate(given)}
