"""How much N_opt and the loss at 100 times the runs move with E, on every public table.

OMP_NUM_THREADS=1 python benchmarks/sensitivity.py
"""

from __future__ import annotations

from tables import public_tables

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law


def main():
    rows = []
    for name, runs in public_tables().items():
        law = fit_scaling_law(runs)
        far = law.default_budgets()[-1]
        low, high = law.sensitivity_to_E(far)
        N, loss = law.N_opt(far), law.L_opt(far)
        sizes = f"x{low.N_opt / N:.3f}", f"x{high.N_opt / N:.3f}"
        losses = f"{low.L_opt / loss - 1:+.2%}", f"{high.L_opt / loss - 1:+.2%}"
        rows.append((name, law.form, f"{low.E:.4f}", f"{law.irreducible:.4f}", f"{high.E:.4f}", *sizes, *losses))
    headers = ("table", "form", "low E", "E", "high E", "N_opt, low E", "N_opt, high E", "loss, low E", "loss, high E")
    print(markdown_table(headers, rows))


if __name__ == "__main__":
    main()
