"""The training curves of a study: read from its logs, thinned out, and drawn."""

from flops_fit.loss_curves.curves import LossCurve as LossCurve
from flops_fit.loss_curves.curves import curves_frame as curves_frame
from flops_fit.loss_curves.curves import load_curves as load_curves
