"""Other processes, in which the user's code may crash, hang or change what it likes."""
