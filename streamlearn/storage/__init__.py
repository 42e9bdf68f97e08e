"""How files and directories are written so that they are there whole or not at all."""
