"""Locks on files that end with the process that holds them."""

from edgekd.errors import BadInputError


def lock(handle: int, *, wait: bool = True) -> None:
    """Hold an open file until it is closed; BlockingIOError where another process does, unless this one may `wait`.

    Raises BadInputError on a system without such locks.
    """
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise BadInputError("Windows has no locks that end with a process: run edgekd in WSL") from error
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
