"""Where things are: the checkout, its tests, and the public tables beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
HELPERS = TESTS / "helpers"
BENCHMARKS = ROOT / "benchmarks"
DOCS = ROOT / "docs"
PUBLIC_DATA = ROOT.parent / "shared" / "data"
