"""Data as it lies on disk: token files and text with a tokenizer as examples of a context, shards of samples,
and streams of documents.

In a study file `train = "data/train.bin"` and `context = 256` in [data] are all it takes (docs/data.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_EXPORTS = {
    "TokenFile": "token_file",
    "TarShards": "tar_shards",
    "PackedStream": "packed_stream",
    "Tokenizer": "tokenizer",
    "tokenizer_of": "tokenizer",
    "tokenize": "tokenized",
    "open_path": "paths",
}

__all__ = list(_EXPORTS)

if TYPE_CHECKING:
    from flops_fit.datasets.packed_stream import PackedStream as PackedStream
    from flops_fit.datasets.paths import open_path as open_path
    from flops_fit.datasets.tar_shards import TarShards as TarShards
    from flops_fit.datasets.token_file import TokenFile as TokenFile
    from flops_fit.datasets.tokenized import tokenize as tokenize
    from flops_fit.datasets.tokenizer import Tokenizer as Tokenizer
    from flops_fit.datasets.tokenizer import tokenizer_of as tokenizer_of

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
