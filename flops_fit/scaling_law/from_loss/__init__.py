"""From the loss to what else is measured: the second step of a prediction, as published model ladders take it."""
