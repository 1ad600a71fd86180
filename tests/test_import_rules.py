"""The import rules of the design, held by looking at every import statement and at what loading really loads."""

import ast
import subprocess
import sys

import pytest
from paths import ROOT

LIBRARY = sorted((ROOT / "flops_fit").rglob("*.py"))
PIPELINE = sorted((ROOT / "flops_fit_assets").rglob("*.py"))


def imported(path):
    """Every module a file imports when it runs (not those for the type checker alone), as dotted names."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(files, *packages):
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        for name in imported(path)
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


def test_the_library_knows_nothing_of_the_pipeline():
    assert len(LIBRARY) > 20
    assert importers(LIBRARY, "dagster", "flops_fit_assets", "dagster_webserver") == set()


def test_fitting_and_synthetic_runs_need_no_torch():
    fitting = [path for path in LIBRARY if "scaling_law" in path.parts or path.name == "synthetic.py"]
    assert len(fitting) > 5
    assert importers(fitting, "torch", "dagster") == set()


def test_matplotlib_is_for_plots_alone():
    assert importers([*LIBRARY, *PIPELINE], "matplotlib") == {"flops_fit/scaling_law/figures/plots.py"}


def test_nobody_imports_examples_or_the_command_line():
    others = [path for path in [*LIBRARY, *PIPELINE] if "examples" not in path.parts]
    assert importers(others, "flops_fit.examples") == set()
    assert importers([*LIBRARY, *PIPELINE], "flops_fit_assets.cli") == set()


def test_no_pickle_at_rest():
    """Only what talks to child processes pickles, and only over a pipe."""
    pickling = importers([*LIBRARY, *PIPELINE], "pickle", "cloudpickle", "dill", "joblib", "shelve")
    assert pickling == {"flops_fit/basics/workers.py", "flops_fit/sizes/sandbox.py"}


STAGES = ["model_factory", "size_map", "sweep", "training", "results", "scaling_law", "api"]


def test_a_stage_imports_only_earlier_stages():
    for position, stage in enumerate(STAGES):
        path = ROOT / "flops_fit" / f"{stage}.py"
        if path.exists():
            later = [f"flops_fit.{name}" for name in STAGES[position + 1 :] if (stage, name) != ("training", "results")]
            assert importers([path], *later) == set(), stage


@pytest.mark.parametrize("heavy", ["torch", "scipy", "matplotlib", "pandas", "dagster"])
def test_importing_the_library_is_light(heavy):
    code = f"import sys, flops_fit; flops_fit.__all__; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["scipy", "matplotlib", "pandas"])
def test_a_training_that_dagster_launches_does_not_wait_for_what_only_the_fit_needs(heavy):
    code = f"import sys, flops_fit_assets.definitions; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_public_name_can_be_had():
    import flops_fit

    assert {name for name in flops_fit.__all__ if not hasattr(flops_fit, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'plan_swep'"):
        _ = flops_fit.plan_swep


@pytest.mark.parametrize("package", ["sizes", "sweep", "recipe", "results", "cost", "study"])
def test_a_package_hands_on_its_names_and_loads_nothing_heavy(package):
    code = (
        f"import sys; from flops_fit.{package} import *; import flops_fit.{package} as package\n"
        "assert len(package.__all__) > 1 and all(hasattr(package, name) for name in package.__all__)\n"
        "sys.exit(bool({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
