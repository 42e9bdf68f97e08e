"""Atomic writing of files and directories: complete or absent."""
