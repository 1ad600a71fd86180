"""The house keeps its order: no circles, packages stand on those below them, heavy libraries load where they are used.

`python tests/helpers/import_graph.py` prints rooms, levels and arrows.
"""

import subprocess
import sys

import pytest
from import_graph import circles, graph, imported_names, levels, modules, room_of, rooms
from paths import ROOT

# from the ground up: a room imports only rooms that stand in an earlier line
LIBRARY = (
    ("errors",),
    ("identity",),
    ("basics",),
    ("processes",),
    ("loss_faults",),
    ("loss", "synthetic", "drawing", "tables"),
    ("data",),
    ("datasets", "metrics"),
    ("sizes",),
    ("sweep",),
    ("recipe", "results"),
    ("cost", "scaling_law", "loss_curves"),
    ("adaptive", "rate_check", "recipe_law", "slurm"),
    ("study", "report"),
    ("study_law",),
    ("training", "stages"),
    ("preflight", "distributed", "all_measured", "kept_size_map", "extension"),
    ("api",),
    ("by_value",),
)
PIPELINE = (
    ("instance", "storage"),
    ("warm_runs",),
    ("pages", "source"),
    ("compared",),
    ("metadata",),
    ("freshness",),
    ("automation",),
    ("graph",),
    ("definitions",),
    ("headless", "component"),
    ("commands",),
    ("terminal",),
    ("cli",),
)
ORDER = [tuple(f"flops_fit.{name}" for name in line) for line in LIBRARY]
ORDER += [tuple(f"flops_fit_assets.{name}" for name in line) for line in PIPELINE]


DRAWING = (
    "drawing/axes",
    "drawing/render",
    "drawing/shown_figure",
    "scaling_law/figures/plots",
    "scaling_law/figures/residual_plot",
    "adaptive/figures",
    "recipe_law/figures",
)


@pytest.fixture(scope="module")
def edges():
    return graph()


def importers(*packages, within="", for_types=True):
    """Modules below `within` that import one of `packages` or something in it, as paths."""
    return {
        path.relative_to(ROOT).as_posix()
        for name, path in modules().items()
        if name.startswith(within)
        for target in imported_names(path, for_types=for_types)
        if any(target == package or target.startswith(package + ".") for package in packages)
    }


def paths(*names):
    """`names` as a set, all of which must be files: a rule that names a path that is gone holds nothing."""
    assert [name for name in names if not (ROOT / name).is_file()] == []
    return set(names)


def test_no_module_imports_itself_through_others(edges):
    assert circles(edges) == []


def test_no_room_imports_itself_through_others(edges):
    assert circles(rooms(edges)) == []


def test_circles_are_found_where_there_are_some():
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]
    assert circles({"a": ["b"], "b": ["c"], "d": ["a", "c"]}) == []


def test_every_room_has_its_place_in_the_order(edges):
    named = [room for line in ORDER for room in line]
    assert sorted(named) == sorted(rooms(edges))


def test_a_room_stands_only_on_rooms_below_it(edges):
    below = {room: set().union(*ORDER[:height]) for height, line in enumerate(ORDER) for room in line}
    wrong = [
        f"{module} imports {target}"
        for module, targets in edges.items()
        for target in sorted(targets)
        if room_of(target) not in below[room_of(module)] | {room_of(module)}
    ]
    assert wrong == []


def test_the_house_can_be_measured(edges, record_property):
    """The figures of rooms, levels and arrows; that they exist needs the absence of circles."""
    house = rooms(edges)
    figures = {
        "rooms": len(house),
        "levels of rooms": max(levels(house).values()),
        "arrows between rooms": sum(map(len, house.values())),
        "levels of modules": max(levels(edges).values()),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert figures["levels of rooms"] <= len(ORDER)


def test_the_library_knows_nothing_of_the_pipeline():
    assert importers("dagster", "flops_fit_assets", "dagster_webserver", within="flops_fit.") == set()


def test_fitting_and_synthetic_runs_need_no_torch():
    assert importers("torch", within="flops_fit.scaling_law") == set()
    assert importers("torch", within="flops_fit.synthetic") == set()


def test_matplotlib_is_for_plots_alone():
    drawing = paths(*(f"flops_fit/{name}.py" for name in DRAWING))
    assert importers("matplotlib", for_types=False) == drawing


def test_nobody_imports_examples_or_the_command_line():
    assert importers("flops_fit.examples", "flops_fit_assets.cli") == set()


def test_no_pickle_at_rest():
    """Only what talks to child processes pickles, and only over a pipe."""
    pickling = importers("pickle", "cloudpickle", "dill", "joblib", "shelve")
    assert pickling == paths(
        "flops_fit/processes/worker_process.py", "flops_fit/processes/workers.py", "flops_fit/sizes/sandbox.py"
    )


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("flops_fit", ("torch", "scipy", "matplotlib", "pandas", "dagster")),
        ("flops_fit_assets.definitions", ("scipy", "matplotlib", "pandas")),  # a training waits for none of these
    ],
)
def test_importing_is_light(module, heavy):
    code = f"import sys, {module} as module; getattr(module, '__all__', 0); print(set({heavy!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_can_be_had():
    import flops_fit

    assert {name for name in flops_fit.__all__ if not hasattr(flops_fit, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'plan_swep'"):
        _ = flops_fit.plan_swep


def test_packages_hand_on_their_names_and_load_nothing_heavy():
    """All in one process: what none of them loads together, none loads alone."""
    code = """
import importlib, sys
for name in ("sizes", "sweep", "recipe", "results", "cost", "study"):
    exec(f"from flops_fit.{name} import *")
    package = importlib.import_module(f"flops_fit.{name}")
    assert len(package.__all__) > 1, name
    assert all(hasattr(package, public) for public in package.__all__), name
    heavy = {"torch", "pandas", "scipy", "matplotlib"} & set(sys.modules)
    assert not heavy, (name, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
