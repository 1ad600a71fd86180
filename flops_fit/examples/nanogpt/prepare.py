"""`python prepare.py [TEXT]`: a text, or the sources of Python's standard library, as data/train.bin and data/val.bin.

As nanoGPT's `prepare.py`: one uint16 for each token, here for each ASCII character. The last tenth
is held out, at most 131,072 tokens.
"""

import sys
from pathlib import Path

import numpy as np

from flops_fit.examples.stdlib_corpus import HELD_OUT_BYTES, read_corpus

FOLDER = Path(__file__).resolve().parent / "data"


def main(source: str | None = None) -> None:
    """Write the two files into `data`, beside this one."""
    text = Path(source).read_bytes() if source else read_corpus()
    ids = np.frombuffer(text, np.uint8)
    ids = ids[ids < 128].astype(np.uint16)
    end = len(ids) - min(len(ids) // 10, HELD_OUT_BYTES)
    FOLDER.mkdir(parents=True, exist_ok=True)
    ids[:end].tofile(FOLDER / "train.bin")
    ids[end:].tofile(FOLDER / "val.bin")
    print(f"{end:,} tokens in {FOLDER / 'train.bin'}, {len(ids) - end:,} in {FOLDER / 'val.bin'}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
