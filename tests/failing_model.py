"""A model that can be planned and fails in training when it is wide."""

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
