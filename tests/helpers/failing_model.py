"""Models that can be planned and fail in training."""

from tiny_study import TinyMLP


class FailsWhenWide(TinyMLP):
    """Trains only below 30 units."""

    def __init__(self, width):
        super().__init__(width)
        self.width = width

    def forward(self, inputs):
        if self.width >= 30:
            raise RuntimeError("wide models have a bug")
        return super().forward(inputs)


class Fails(TinyMLP):
    """Can be counted, but takes no batch of more than a few examples."""

    def forward(self, inputs):
        if len(inputs) > 4:
            raise RuntimeError("every model has a bug")
        return super().forward(inputs)
