"""The assets, their partitions, checks and IO."""
