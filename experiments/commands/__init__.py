"""The commands: dataclasses of arguments with a method ``run``.

It raises ValueError for arguments that can't be used, before any work is done, and RuntimeError for work that failed.
"""
