"""The recipe law as a stage: trials at the cheap end, round by round, then the rule for the whole grid."""
