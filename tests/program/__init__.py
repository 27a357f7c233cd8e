"""The program as operators have it: the real twistd with the plugin, from outside."""
