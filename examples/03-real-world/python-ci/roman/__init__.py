"""Numbers as the Romans wrote them."""

DIGITS = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
]


def roman(number: int) -> str:
    """Returns the Roman form of a number from 1 to 3999.

    >>> roman(2026)
    'MMXXVI'
    """
    if not 1 <= number < 4000:
        raise ValueError(f"not from 1 to 3999: {number}")
    text = ""
    for value, digit in DIGITS:
        count, number = divmod(number, value)
        text += digit * count
    return text
