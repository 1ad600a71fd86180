"""Tables of runs as people have them: files, headings, cells and units, read into our own names and plain numbers."""
