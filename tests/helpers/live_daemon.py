"""A study under a live daemon and web server with its automation on: what runs does an edit start?"""

import shutil
import time
from collections import Counter
from pathlib import Path

from dagster_pages import launch, messages, runs, switch_off, switch_on, ticks
from pipeline_study import write_study
from webdriver import wait_for

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_QUIET_TICKS = 3  # of the automation sensor that start nothing


class Live:
    """`settle` says which runs the last edit started, once nothing more can come of it."""

    def __init__(self, folder, address, name="tiny"):
        self.folder, self.address, self.name, self.seen = Path(folder), address, name, set(runs(address))
        self.edited = time.time()

    def switch_on(self):
        """Turn the two sensors on."""
        self.edited = time.time()
        for sensor in ("automation", "watch"):
            switch_on(self.address, f"{sensor}_{self.name}")

    def switch_off(self):
        """As they are when nobody has touched them."""
        for sensor in ("automation", "watch"):
            switch_off(self.address, f"{sensor}_{self.name}")

    def edit(self, change=lambda text: text, **options):
        """Write the study file anew with `options`, its text passed through `change`."""
        path = write_study(self.folder, name=self.name, **options)
        path.write_text(change(path.read_text()))
        self.edited = time.time()

    def edit_file(self, name, change):
        """Change a file beside the study."""
        path = self.folder / name
        path.write_text(change(path.read_text()))
        self.edited = time.time()

    def materialize(self, asset, **config):
        """Launch an asset by hand, as the launchpad does."""
        launch(self.address, asset, config)
        self.edited = time.time()

    def settle(self, seconds=420, killed=()):
        """Asset → how many times a run that ended well materialized it since last asked; the tick of the watch too.

        Settled is when no run is under way and a few ticks of automation began and ended thereafter with nothing to
        do. No run may have failed but those that were `killed`, and a law that was asked for before they came again.
        """
        watched = self.watched()
        last, since = None, time.time()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = runs(self.address)
            if now != last or any(status not in ENDED for status, _, _ in now.values()):
                last, since = now, time.time()
            elif self._quiet(since) >= _QUIET_TICKS:
                return self._new(now, killed), watched
            time.sleep(1)
        raise TimeoutError(f"still at work after {seconds} s: {last}")

    def _quiet(self, since):
        after = [tick for tick in ticks(self.address, f"automation_{self.name}") if tick["timestamp"] > since]
        return sum(tick["status"] == "SKIPPED" for tick in after)

    def watched(self):
        """The tick of the watch that saw the edit: one under way may have; the next must, or there was nothing."""
        return wait_for(self._watched, 90, "a tick of the watch")

    def _watched(self):
        for tick in reversed(ticks(self.address, f"watch_{self.name}")):
            if tick["endTimestamp"] is None or tick["endTimestamp"] < self.edited:
                continue
            if tick["timestamp"] > self.edited or tick["skipReason"] != "no file has changed":
                return tick
        return None

    def _new(self, now, killed):
        new = {run: now[run] for run in now.keys() - self.seen - set(killed)}
        new = {run: state for run, state in new.items() if not (killed and self._too_early(run, state))}
        self.seen |= now.keys()
        failed = {run: state for run, state in new.items() if state[0] != "SUCCESS"}
        assert not failed, (failed, {run: messages(self.address, run)[-12:] for run in failed})
        trained = [partition for _, _, partition in new.values() if partition]
        assert len(trained) == len(set(trained)), trained
        return Counter(name for _, assets, _ in new.values() for name in assets.split("+"))

    def _too_early(self, run, state):
        """Until what was killed is started again, some seconds, Dagster's automation takes it for failed."""
        said = "is still to come, and the law is fitted when it has"
        return state[:2] == ("FAILURE", "scaling_law") and any(said in text for text in messages(self.address, run))


def own_module(folder):
    """The tiny study's model as a file beside the study, to be edited; its module name."""
    shutil.copy(Path(__file__).with_name("tiny_study.py"), Path(folder) / "live_model.py")
    return "live_model"
