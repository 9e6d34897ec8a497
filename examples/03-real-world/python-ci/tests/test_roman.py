import doctest
import unittest

import roman


class RomanTest(unittest.TestCase):
    def test_small_numbers_subtract(self):
        texts = [roman.roman(number) for number in (1, 4, 9, 14, 40, 90, 400, 900)]
        self.assertEqual(texts, ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "CM"])

    def test_what_the_romans_could_not_write_is_an_error(self):
        self.assertEqual(roman.roman(3999), "MMMCMXCIX")
        for number in (0, 4000, -1):
            with self.assertRaises(ValueError):
                roman.roman(number)


def load_tests(loader, tests, ignore):
    tests.addTests(doctest.DocTestSuite(roman))
    return tests
