"""FLOPs → device-hours → money, and memory."""

from flops_fit.cost.estimate import CostEstimate, estimate, peak_memory
from flops_fit.cost.hardware import Hardware, measure_peak, peak_to_show

__all__ = ["CostEstimate", "Hardware", "estimate", "measure_peak", "peak_memory", "peak_to_show"]
