"""Somebody's training program: it knows nothing of this project, and its "training" is a law with some noise.

    own_trainer.py PARAMS TOKENS RESULT [TROUBLES]

TROUBLES is a JSON file of tokens → what goes wrong, to try out what becomes of a program that goes wrong.
"""

import hashlib
import json
import os
import sys
import time

E, A, B, ALPHA, BETA, NOISE = 1.7, 400.0, 410.0, 0.34, 0.28, 0.001


def law(params, tokens):
    """The true loss."""
    return E + A / params**ALPHA + B / tokens**BETA


def noisy(params, tokens):
    """The same with up to 0.1 % of noise, always the same for the same run."""
    digest = hashlib.sha256(f"{params} {tokens}".encode()).digest()
    return law(params, tokens) * (1 + NOISE * (2 * int.from_bytes(digest[:4], "big") / 2**32 - 1))


def main():
    params, tokens, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    troubles = {}
    if len(sys.argv) > 4:
        with open(sys.argv[4]) as file:
            troubles = json.load(file)
    trouble = troubles.get(str(tokens))
    print(f"training {params} parameters on {tokens} tokens in {os.getcwd()}", flush=True)
    report = {"num_tokens": tokens, "loss": noisy(params, tokens), "train_loss": 2.0, "seconds": 12.5, "steps": 100}
    if trouble == "tokens":
        report["num_tokens"] = int(tokens * 0.9)
    elif trouble == "flops":
        report["flops"] = 60.0 * params * tokens
    elif trouble == "params":
        report["num_params"] = params + 1
    elif trouble == "nan":
        report["loss"] = float("nan")
    elif trouble == "exit":
        print("\x1b[31mlooking for a licence\x1b[0m")
        sys.exit("no licence for this machine")
    elif trouble == "hang":
        time.sleep(60)
    if trouble == "not json":
        report = "loss: 2.5"
        with open(result, "w") as file:
            file.write(report)
    elif trouble != "silent":
        with open(result, "w") as file:
            json.dump(report, file)


if __name__ == "__main__":
    main()
