"""Where a study's files are: its folder, and its copy on storage that machines share."""
