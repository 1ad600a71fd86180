"""Several experiments of one shape trained at once in one process, each as if alone but for rounding.

`groups` says which may be, `trial` whether they give the same and how much that saves, `advance` trains them up to
their last checkpoints, from which each goes on as any training does. Whatever a stack cannot do is left to that.
"""
