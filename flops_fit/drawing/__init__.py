"""What all figures are drawn and rendered with."""
