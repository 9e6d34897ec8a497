#[test]
fn small_numbers_subtract() {
    let texts: Vec<_> = [1, 4, 9, 14, 40, 90, 400, 900]
        .into_iter()
        .filter_map(roman::from)
        .collect();
    assert_eq!(texts, ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "CM"]);
}

#[test]
fn what_the_romans_could_not_write_is_nothing() {
    assert_eq!(roman::from(0), None);
    assert_eq!(roman::from(4000), None);
    assert_eq!(roman::from(3999).as_deref(), Some("MMMCMXCIX"));
}
