"""Tables that cannot be read as they are: what is wrong, and what to do about it."""

import pandas as pd
import pytest

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.synthetic import REPLICATION, synthetic_runs


@pytest.mark.parametrize(("separator", "words"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_frame_whose_columns_were_not_told_apart_is_refused_with_the_remedy(tmp_path, separator, words):
    path = tmp_path / "runs.csv"
    synthetic_runs(REPLICATION).to_csv(path, sep=separator, index=False)
    with pytest.raises(FitError, match=f"separated by {words}.*read_csv"):
        fit_scaling_law(pd.read_csv(path))


@pytest.mark.parametrize("column", ["group", "run", "seed"])
def test_a_column_of_names_that_has_lists_is_refused(column):
    runs = synthetic_runs(REPLICATION).assign(**{column: None})
    runs[column] = [[row] for row in range(len(runs))]
    with pytest.raises(FitError, match=r"= \[0\] in row 0 cannot be a name"):
        fit_scaling_law(runs)
