"""The command `nas`: from images and a limit to a network that is searched, trained and reported.

Every stage has a file of its own, ``stage_*.py``; what runs are told is in ``settings.py``.
"""
