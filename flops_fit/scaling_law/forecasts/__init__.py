"""Forecasts of budgets that are still to be trained: sealed when they are made, scored when their runs are there."""
