"""Models that can be planned and fail in training."""

from tiny_study import TinyMLP


class FailsWhenWide(TinyMLP):
    """Trains only below 30 units; above, it takes the few examples that a size is tried with and no more."""

    def __init__(self, width):
        super().__init__(width)
        self.width = width

    def forward(self, inputs):
        if self.width >= 30 and len(inputs) > 100:
            raise RuntimeError("wide models have a bug")
        return super().forward(inputs)


class Fails(TinyMLP):
    """Can be counted, but takes no batch of more than one example."""

    def forward(self, inputs):
        if len(inputs) > 1:
            raise RuntimeError("every model has a bug")
        return super().forward(inputs)
