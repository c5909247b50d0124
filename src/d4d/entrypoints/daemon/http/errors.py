"""What can go wrong before anything is served."""


class CannotStart(Exception):
    """The app's start failed; the log says why."""
