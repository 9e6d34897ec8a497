def runs():
    """Has the name of a function of vm-tests/helpers.py."""
