"""Studies that plan their next experiments from what their law does not know yet, round by round."""
