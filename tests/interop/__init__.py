"""Other people's clients, through the real twistd, to a real web server."""
