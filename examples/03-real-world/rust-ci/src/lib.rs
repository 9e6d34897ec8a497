//! Numbers as the Romans wrote them.

const DIGITS: [(u16, &str); 13] = [
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
];

/// Returns the Roman form of a number from 1 to 3999, and nothing for any other.
///
/// ```
/// assert_eq!(roman::from(2026).as_deref(), Some("MMXXVI"));
/// assert_eq!(roman::from(0), None);
/// ```
pub fn from(number: u16) -> Option<String> {
    if !(1..4000).contains(&number) {
        return None;
    }
    let mut rest = number;
    let mut text = String::new();
    for (value, digit) in DIGITS {
        while rest >= value {
            text.push_str(digit);
            rest -= value;
        }
    }
    Some(text)
}
