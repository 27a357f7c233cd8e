"""Other people's clients, through the real twistd, to real servers."""
