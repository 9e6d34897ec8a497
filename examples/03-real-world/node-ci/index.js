const digits = [
  [1000, "M"], [900, "CM"], [500, "D"], [400, "CD"], [100, "C"], [90, "XC"], [50, "L"], [40, "XL"],
  [10, "X"], [9, "IX"], [5, "V"], [4, "IV"], [1, "I"],
];

/** Returns the Roman form of a number from 1 to 3999. */
export function roman(number) {
  if (!Number.isInteger(number) || number < 1 || number > 3999) {
    throw new RangeError(`not from 1 to 3999: ${number}`);
  }
  let text = "";
  for (const [value, digit] of digits) {
    text += digit.repeat(Math.floor(number / value));
    number %= value;
  }
  return text;
}
