"""Put your own training here: N parameters on D tokens, then its held-out loss as JSON in the file that is asked for.

This one trains nothing. Its losses are those of Hoffmann et al. (2022, approach 3) with 0.5 % of noise.
"""

import argparse
import json
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--params", type=int, required=True)
parser.add_argument("--tokens", type=int, required=True)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--result", type=Path, required=True)
given = parser.parse_args()

loss = 1.69 + 406.4 / given.params**0.34 + 410.7 / given.tokens**0.28
loss *= 1 + 0.005 * random.Random(f"{given.params} {given.tokens} {given.seed}").gauss(0, 1)
given.result.write_text(json.dumps({"num_tokens": given.tokens, "loss": loss}))
