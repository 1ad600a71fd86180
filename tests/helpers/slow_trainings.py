"""A study with a training long enough to be killed in the middle, under live pages, and how far that training is."""

import re

from dagster_pages import messages, runs
from pipeline_study import write_study

BUDGETS = (3e5, 1e7)  # the second trains its smallest model for some ten seconds, one example a step


def write_slow_study(folder):
    """The tiny study, `slowly`."""
    path = write_study(folder, budgets=BUDGETS, sizes=3)
    path.write_text(slowly(path.read_text()))
    return path


def slowly(text):
    """The tiny study file with one example a step and a checkpoint five times a second."""
    return text.replace("[training]\n", "[training]\nbatch_tokens = 1\ncheckpoint_seconds = 0.2\n")


def longest(experiments):
    """The id of the experiment with most tokens; None of none."""
    ids = {item["num_tokens"]: item["experiment_id"] for item in experiments}
    return ids[max(ids)] if ids else None


def runs_of(address, partition):
    """Run id → status of the runs that train `partition`."""
    return {run: status for run, (status, _, trained) in runs(address).items() if trained == partition}


def well_under_way(address, partition):
    """The run that trains `partition`, once it has done 40 % of it; never one that has ended."""
    for run, status in runs_of(address, partition).items():
        assert status not in {"SUCCESS", "FAILURE"}, (run, status, messages(address, run))
        if any(done >= 0.4 for done in progress(messages(address, run))):
            return run
    return None


def progress(lines):
    """Which shares of its steps a training said it had done, in that order."""
    found = [re.search(r"step (\d+) of (\d+)", line) for line in lines]
    return [int(match[1]) / int(match[2]) for match in found if match]
